"""Behavioural solution: amplifiers by their closed loop, and wires as training has them.

`v_out = R_f (G+ - G-)^T v_in + V_bias`, with the conductances of the programmed devices. Where the spec's wires lose
voltage, the conductances are those that a device shows through the wires, by the same approximation as in training
(`hrat.encoding.wires`). Errors of amplifiers and readings are those of `hrat.physics.amplifiers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hrat.artifacts import ProgrammedChip
from hrat.encoding import effective_pair
from hrat.simulation.solvers import LayerModel, SolverError, Statistics, linear_model
from hrat.spec import Array, HardwareSpec

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
        return {name: linear_model(chip, name, self._conductances(chip, name, device)) for name in names}

    def _conductances(self, chip: ProgrammedChip, name: str, device: torch.device) -> tuple[Tensor, Tensor]:
        programmed = chip.layers[name]
        if device.type != "meta":  # where sizes are asked for and no numbers, for other solvers too
            _refuse_huge_resistances(chip.deployment.spec.array, programmed.g_pos_S.dtype, name)
        return effective_pair(programmed.g_pos_S.to(device), programmed.g_neg_S.to(device), chip.deployment.spec)


def _refuse_huge_resistances(array: Array, dtype: torch.dtype, layer: str) -> None:
    """The formula multiplies resistances: what the numbers of this type cannot hold would be no result.

    Raises:
        SolverError: a resistance is larger than the root of the largest number.
    """
    largest_ohm = max(array.r_word_ohm, array.r_bit_ohm, array.r_driver_ohm, array.r_sense_ohm)
    most_ohm = torch.finfo(dtype).max ** 0.5
    if array.limit_wires and largest_ohm > most_ohm:
        raise SolverError(
            f"layer {layer}: a resistance of {largest_ohm:g} ohm in the wires (spec section array) cannot be reckoned "
            f"with in {dtype}: expected at most {most_ohm:.2g} ohm; a line that is broken is a matter of the nodal "
            "solver (open_word_lines, open_bit_lines)"
        )
