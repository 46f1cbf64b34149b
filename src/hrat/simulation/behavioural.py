"""Behavioural solution: ideal amplifiers within their swing, and wires as training has them.

`v_out = R_f (G+ - G-)^T v_in + V_bias`, with the conductances of the programmed devices. Where the spec's wires lose
voltage, the conductances are those that a device shows through the wires, by the same approximation as in training
(`hrat.encoding.wires`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hrat.artifacts import ProgrammedChip
from hrat.encoding.wires import effective_pair
from hrat.simulation.solvers import LayerModel, Statistics, gains
from hrat.spec import HardwareSpec

__all__ = ["Behavioural"]


@dataclass(frozen=True)
class Behavioural:
    """The formula of training: one matrix product for each layer."""

    name = "behavioural"

    def making(self, spec: HardwareSpec) -> int:
        """Memory in units of the gains: wires need several copies of the conductances."""
        return 8 if spec.array.limit_wires else 1

    def models(
        self, chip: ProgrammedChip, names: Sequence[str], device: torch.device, statistics: Statistics
    ) -> dict[str, LayerModel]:
        """Gains of the layers; see `hrat.simulation.solvers.Solver`."""
        del statistics
        return {name: gains(chip, name, *self._conductances(chip, name, device)) for name in names}

    def _conductances(self, chip: ProgrammedChip, name: str, device: torch.device) -> tuple[Tensor, Tensor]:
        programmed = chip.layers[name]
        return effective_pair(programmed.g_pos_S.to(device), programmed.g_neg_S.to(device), chip.deployment.spec)
