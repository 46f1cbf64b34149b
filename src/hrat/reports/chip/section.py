"""Layers, conductances and pulses of a chip in the report's page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from markupsafe import Markup
from torch import Tensor

from hrat.artifacts import ProgrammedChip, PulseColumns, Status
from hrat.reports.drawing import US
from hrat.reports.html import Table, histogram, quantile
from hrat.reports.words import duration, percent, si

__all__ = [
    "HistogramsSection",
    "LayerHistograms",
    "PulsesSection",
    "histograms_section",
    "layers_table",
    "pulses_section",
]


@dataclass(frozen=True, kw_only=True)
class LayerHistograms:
    """Conductances and errors of a layer."""

    name: str
    levels: Markup
    """Target and achieved conductances."""
    spread: Markup
    """Achieved minus target."""


@dataclass(frozen=True, kw_only=True)
class HistogramsSection:
    """Histograms of all layers, on one scale."""

    layers: Sequence[LayerHistograms]
    top: str
    """Right end of the conductances."""
    limit: str
    """Both ends of the errors."""


@dataclass(frozen=True, kw_only=True)
class PulsesSection:
    """Pulses of programming."""

    table: Table
    chart: Markup
    top: str
    """Right end of the chart."""
    failed: str
    """Devices that were not accepted."""
    said: str


def layers_table(chip: ProgrammedChip) -> Table:
    """A row for each layer of the chip."""
    deployment = chip.deployment
    rows = []
    for name, layer in deployment.layers.items():
        groups, n_rows, n_cols = layer.array_shape
        shape = f"{n_rows} x {n_cols}" if groups == 1 else f"{groups} of {n_rows} x {n_cols}"
        rms_S = chip.rms_error_S(name)
        bias = "-" if layer.bias_V is None else f"{float(layer.bias_V.abs().max()):.3g}"
        rows.append(
            (
                name,
                layer.geometry.kind,
                shape,
                f"{len(deployment.tiles(name)):,}",
                f"{layer.n_devices:,}",
                f"{layer.r_f_ohm / 1e3:.4g}",
                bias,
                f"{rms_S * US:.3g}",
                percent(rms_S / deployment.spec.device.g_range_S),
            )
        )
    headings = (
        "layer",
        "kind",
        "rows x cols",
        "tiles",
        "devices",
        "R_f, kΩ",
        "largest bias, V",
        "rms error, µS",
        "of the window",
    )
    return Table("Layers of the chip", headings, rows)


def histograms_section(chip: ProgrammedChip) -> HistogramsSection:
    """Targets, what the devices hold, and errors, of each layer."""
    device = chip.deployment.spec.device
    errors = {name: torch.cat([e.flatten() for e in chip.errors_S(name)]) for name in chip.layers}
    limit_S = max((quantile(error.abs(), 0.999) for error in errors.values()), default=0.0) or device.g_range_S / 100
    top_S = max(device.g_max_S + 2 * limit_S, *(quantile(_achieved(chip, name), 0.9999) for name in chip.layers))
    layers = []
    for name in chip.layers:
        target = chip.deployment.layers[name]
        target_S = torch.cat([target.g_pos_S.flatten(), target.g_neg_S.flatten()])
        label = f"Conductances of layer {name}: targets, and what the devices hold"
        levels = histogram(
            [("achieved", _achieved(chip, name)), ("target", target_S)], 0.0, top_S, bins=120, label=label
        )
        spread = histogram(
            [("error", errors[name])],
            -limit_S,
            limit_S,
            bins=61,
            label=f"Errors of layer {name}, achieved minus target",
        )
        layers.append(LayerHistograms(name=name, levels=levels, spread=spread))
    return HistogramsSection(layers=layers, top=f"{top_S * US:.3g} µS", limit=f"{limit_S * US:.3g} µS")


def _achieved(chip: ProgrammedChip, name: str) -> Tensor:
    layer = chip.layers[name]
    return torch.cat([layer.g_pos_S.flatten(), layer.g_neg_S.flatten()])


def pulses_section(chip: ProgrammedChip) -> PulsesSection:
    """Pulses of programming, layer by layer; None for chips that were not programmed pulse by pulse."""
    rows = []
    for name in [None, *chip.layers]:
        total = chip.pulse_totals(name)
        rows.append(
            (
                "all layers" if name is None else name,
                f"{total.devices:,}",
                f"{total.mean_pulses:.1f}",
                f"{total.most_pulses:,}",
                percent(total.accepted / max(total.devices, 1)),
                percent(total.budget_spent / max(total.devices, 1)),
                percent(total.stuck / max(total.devices, 1)),
                si(total.energy_J, "J"),
                duration(total.time_s),
            )
        )
    columns: list[PulseColumns] = [
        part for layer in chip.layers.values() for part in (layer.pos_pulses, layer.neg_pulses) if part is not None
    ]
    pulses = torch.cat([part.pulses.flatten() for part in columns])
    failed = torch.cat([part.pulses.flatten()[part.status.flatten() != Status.ACCEPTED] for part in columns])
    top = max(float(pulses.max()), 1.0)
    label = f"Pulses of each device, from 0 to {top:.0f}"
    headings = (
        "layer",
        "devices",
        "pulses, mean",
        "most",
        "accepted",
        "budget spent",
        "stuck",
        "energy",
        "time, one by one",
    )
    return PulsesSection(
        table=Table("Programming, all chips together", headings, rows),
        chart=histogram([("error", pulses.float())], 0.0, top, bins=min(int(top) + 1, 100), label=label),
        top=f"{top:.0f}",
        failed=f"{failed.numel():,}",
        said=str(chip.pulse_totals()) + ".",
    )
