"""The errors that training draws: of both partners of a pair, of their difference in one draw, and of amplifiers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hrat.encoding import Geometry, LayerAmplifiers, Readout, encode_pair
from hrat.nn.scratch import scratch_like
from hrat.physics import achieved_conductance, has_error, pair_error_is_gaussian, sigma_S, standard_normal
from hrat.spec import HardwareSpec

__all__ = [
    "ChipSample",
    "DeviceErrors",
    "NoiseSource",
    "PairError",
    "draw_difference_error",
    "draw_pair_error",
]

PairError = tuple[Tensor, Tensor]
"""Errors of the devices `(G+, G-)` of a layer in siemens, as `hrat.encoding.Readout.encode` has them."""


class ChipSample(NamedTuple):
    """What a chip has of a layer, drawn once for all calls of it."""

    devices: PairError | None
    """Errors of the devices; None to draw them where the hardware has errors."""
    amplifiers: LayerAmplifiers
    """Errors of the amplifiers; empty where these have none."""


def draw_pair_error(
    quantised: Tensor,
    geometry: Geometry,
    spec: HardwareSpec,
    *,
    generator: torch.Generator | None,
    strength: Tensor | float = 1.0,
) -> PairError:
    """Draw the error `(dG+, dG-)` in siemens of every pair, from the model that programs a chip.

    Args:
        quantised: realisable fractions of the window, `geometry.weight_shape`.
        geometry: the operation.
        spec: the hardware.
        generator: source of the random numbers; torch's default one where none is given.
        strength: factor on the standard deviation.
    """
    targets = Readout.of(spec).encode(quantised.detach(), geometry, spec.device)
    drawn = [
        achieved_conductance(g_S, spec.device, spec.programming, spec.faults, generator=generator, strength=strength)
        - g_S
        for g_S in targets
    ]
    return drawn[0], drawn[1]


def draw_difference_error(
    quantised: Tensor,
    geometry: Geometry,
    spec: HardwareSpec,
    *,
    generator: torch.Generator | None,
    strength: Tensor | float = 1.0,
    out: Tensor | None = None,
) -> Tensor:
    """Draw the error of `G+ - G-` as a fraction of the window: all that a dual-rail read-out sees of it.

    Two independent Gaussians differ by one of variance `sigma+^2 + sigma-^2`, so one draw does; where the cut-off at
    zero conductance matters, with a table or with stuck devices, each device is drawn for itself.

    Args:
        quantised: realisable fractions of the window, `geometry.weight_shape`.
        geometry: the operation.
        spec: the hardware.
        generator: source of the random numbers; torch's default one where none is given.
        strength: factor on the standard deviation.
        out: memory that may take the result, of the shape of `quantised`.
    """
    quantised = quantised.detach()
    if not pair_error_is_gaussian(spec.device, spec.programming, spec.faults):
        pos, neg = draw_pair_error(quantised, geometry, spec, generator=generator, strength=strength)
        return pos.sub_(neg).div_(spec.device.g_range_S)
    z = standard_normal(torch.empty_like(quantised) if out is None else out, generator)
    if spec.programming.sigma_rel is not None:
        return z.mul_(strength * (spec.programming.sigma_rel * math.sqrt(2.0)))
    g_pos_S, g_neg_S = encode_pair(quantised, spec.device)
    spread_pos, spread_neg = (
        sigma_S(g_pos_S, spec.device, spec.programming),
        sigma_S(g_neg_S, spec.device, spec.programming),
    )
    spread_S = torch.hypot(torch.as_tensor(spread_pos), torch.as_tensor(spread_neg))
    return z.mul_(spread_S.mul_(strength / spec.device.g_range_S))


class NoiseSource:
    """Source of the programming errors of a prepared model; shared by its layers.

    `generator` is None for torch's default one, which `torch.manual_seed` sets and which `torch.compile` can trace.
    """

    def __init__(self, generator: torch.Generator | None = None) -> None:
        self.generator = generator


@dataclass(frozen=True)
class DeviceErrors:
    """Errors of the devices of one layer in one forward pass."""

    geometry: Geometry
    spec: HardwareSpec
    given: PairError | None
    """Error of a certain chip, or shared by several calls; None to draw a new one where the hardware has errors."""
    drawn: bool
    """Whether a new chip is met at each pass, as in training."""
    generator: torch.Generator | None
    strength: Tensor

    def of_pair(self, fraction: Tensor) -> PairError | None:
        """Errors `(dG+, dG-)` at realisable fractions of the window, S; None where there are none."""
        if self.given is not None or not self._draws:
            return self.given
        return draw_pair_error(fraction, self.geometry, self.spec, generator=self.generator, strength=self.strength)

    def of_difference(self, fraction: Tensor) -> Tensor | None:
        """Error of `G+ - G-` as a fraction of the window, of the shape of `fraction`: one draw for a pair where exact.

        It may lie in scratch memory: to be used at once.
        """
        if self.given is not None:
            return (self.given[0] - self.given[1]) / self.spec.device.g_range_S
        if not self._draws:
            return None
        out = scratch_like(fraction)
        return draw_difference_error(
            fraction, self.geometry, self.spec, generator=self.generator, strength=self.strength, out=out
        )

    @property
    def _draws(self) -> bool:
        return self.drawn and has_error(self.spec.programming, self.spec.faults)
