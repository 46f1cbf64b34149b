"""The behavioural solution with a power meter at the word lines, for devices and drivers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hrat.artifacts import ProgrammedChip
from hrat.encoding import LayerReadout
from hrat.physics import Draw, conducting_V
from hrat.simulation.behavioural import Behavioural
from hrat.simulation.solvers import LayerModel, LinearModel, Statistics
from hrat.spec import HardwareSpec

__all__ = ["Metered"]


@dataclass(frozen=True)
class Metered:
    """The behavioural solver with a meter: adds up power over all matrix-vector products; equal outputs.

    Statistics of each layer:

        products    matrix-vector products
        devices_W   sum over them of the power in the devices, `sum_j v_j^2 g_j`, with `g_j` all that hangs on word
                    line j, of `G+` and `G-` alike: in a dual-rail read-out the one is driven with `v`, the other
                    with `-v`, and virtual ground is at the other end of both
        drive_W     sum over them of `sum_j |v_j| (V_s - |v_j|) g_j`, lost in the output stages (`hrat.physics.costs`)

    Wires are left out of the power: each device is taken to have the voltage of its driver.
    """

    name = "metered"

    def making(self, spec: HardwareSpec) -> int:
        """Memory in units of the gains: that of the behavioural solver, and a copy of the conductances."""
        return Behavioural().making(spec) + 1

    def models(
        self, chip: ProgrammedChip, names: Sequence[str], device: torch.device, statistics: Statistics
    ) -> dict[str, LayerModel]:
        """A callable for each layer and chip; see `hrat.simulation.solvers.Solver`."""
        models: dict[str, LayerModel] = {}
        for name, model in Behavioural().models(chip, names, device, statistics).items():
            assert isinstance(model, LinearModel)
            models[name] = tuple(
                _metered(chip, name, index, model.of_chip(index), device, statistics) for index in range(chip.n_chips)
            )
        return models


def _metered(
    chip: ProgrammedChip,
    name: str,
    index: int,
    model: LinearModel,
    device: torch.device,
    statistics: Statistics,
) -> Callable[..., Tensor]:
    layer, programmed, spec = chip.deployment.layers[name], chip.layers[name], chip.deployment.spec
    geometry = layer.geometry
    pos_S, neg_S = layer.collected(programmed.g_pos_S[index]), layer.collected(programmed.g_neg_S[index])
    on_line_S = (pos_S.sum(-1, keepdim=True) + neg_S.sum(-1, keepdim=True)).to(device)
    # One output for each group: what hangs on its word lines.
    meter = replace(geometry, out_channels=geometry.groups)
    weight_S = meter.from_matrix(on_line_S)
    own_V = chip.bias_V(name, index)
    bias_V = None if own_V is None else own_V.to(device)
    full_scale_V = None if layer.tile_adc_V is None else layer.tile_adc_V.to(device)
    readout = LayerReadout.of(geometry, spec)
    layer_statistics = statistics.setdefault(name, {})
    supply_V = spec.costs.supply_V

    def run(voltage_V: Tensor, draw: Draw | None = None) -> Tensor:
        size_V, by_current_V = voltage_V.abs(), conducting_V(voltage_V, spec.device)
        devices_W = meter.apply(size_V * by_current_V.abs(), weight_S).sum(dtype=torch.float64)
        current_A = meter.apply(by_current_V.abs(), weight_S).sum(dtype=torch.float64)
        out_V = readout.volts(
            by_current_V,
            model.gains,
            full_scale_V=full_scale_V,
            bias_V=bias_V,
            errors=model.errors[0] if model.errors else None,
            draw=draw,
        )
        amounts = {
            "products": out_V.numel() / geometry.out_channels,
            "devices_W": float(devices_W),
            "drive_W": float(supply_V * current_A - devices_W),
        }
        for what, amount in amounts.items():
            layer_statistics[what] = layer_statistics.get(what, 0.0) + amount
        return out_V

    return run
