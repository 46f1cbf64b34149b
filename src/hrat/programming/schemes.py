"""How a chip is programmed: a scheme takes targets and yields what the devices end at.

`Gaussian` is the statistical model of `hrat.physics.errors`, without pulses in between. A scheme that applies pulses
one by one has the same call, so nothing behind it changes.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from hrat.physics import achieved_conductance
from hrat.spec import HardwareSpec

__all__ = ["SCHEMES", "Gaussian", "Scheme"]


class Scheme(Protocol):
    """One way to program devices."""

    name: str

    def achieve(self, target_S: Tensor, spec: HardwareSpec, generator: torch.Generator) -> Tensor:
        """Conductance that each device ends at, of the shape of `target_S`, S."""
        ...


class Gaussian:
    """Each device ends at its target plus an error drawn from the spec's Gaussian."""

    name = "gaussian"

    def achieve(self, target_S: Tensor, spec: HardwareSpec, generator: torch.Generator) -> Tensor:
        """Conductance that each device ends at, of the shape of `target_S`, S."""
        return achieved_conductance(target_S, spec, generator=generator)


SCHEMES: dict[str, Scheme] = {Gaussian.name: Gaussian()}
