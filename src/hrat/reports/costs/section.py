"""Energy, time and area in the report's page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hrat.artifacts import Estimate
from hrat.reports.html import Bar, Fact, Table
from hrat.reports.words import percent, si

__all__ = ["CostsSection", "costs_section"]

PART_NAMES = {
    "devices": "devices, V²Gt",
    "drive": "drivers, lost from the supply",
    "amplifiers": "amplifiers at rest",
    "dac": "DACs",
    "adc": "ADCs",
}


@dataclass(frozen=True, kw_only=True)
class CostsSection:
    """Energy, time and area for one input, and the assumptions, in words."""

    bars: Sequence[Bar]
    """Energy by the kind of part."""
    facts: Sequence[Fact]
    layers: Table
    assumptions: Table
    n: int
    """Inputs that it is averaged over."""


def costs_section(estimate: Estimate) -> CostsSection:
    """Energy, time and area with all that they rest on."""
    energies = estimate.parts_J()
    longest = max(energies.values()) or 1.0
    total = estimate.energy_J or 1.0
    bars = [
        Bar(PART_NAMES[part], f"{si(value, 'J')} ({percent(value / total, 1)})", value / longest)
        for part, value in energies.items()
    ]
    layers = Table(
        "Each layer, for one input",
        (
            "layer",
            "products",
            "time of each",
            "time",
            "devices",
            "drivers",
            "amplifiers",
            "DACs",
            "ADCs",
            "energy",
            "area",
        ),
        [
            (
                layer.name,
                f"{layer.products:,.0f}",
                si(layer.mvm_s, "s"),
                si(layer.latency_s, "s"),
                *(si(value, "J") for value in (layer.devices_J, layer.drive_J, layer.amplifiers_J)),
                f"{si(layer.dac_J, 'J')} ({layer.n_dacs:,})",
                f"{si(layer.adc_J, 'J')} ({layer.n_adcs:,})",
                si(layer.energy_J, "J"),
                _area(layer.area_m2),
            )
            for layer in estimate.layers
        ],
    )
    assumptions = Table(
        "What these figures rest on",
        ("what", "value", "source"),
        [(assumption.what, assumption.value, assumption.source) for assumption in estimate.assumptions],
        text=True,
    )
    facts = [
        Fact("energy", si(estimate.energy_J, "J"), "for one input"),
        Fact("time", si(estimate.latency_s, "s"), "for one input, layer after layer"),
        Fact("interval", si(estimate.interval_s, "s"), "between inputs, all layers at work"),
        Fact("area", _area(estimate.area_m2), "devices, amplifiers and converters"),
        Fact("efficiency", f"{estimate.ops_per_J / 1e12:.3g} TOPS/W", "multiply-accumulate counted as two"),
    ]
    return CostsSection(bars=bars, facts=facts, layers=layers, assumptions=assumptions, n=estimate.n_images)


def _area(area_m2: float) -> str:
    """0.0041 -> `41 cm²`."""
    for size, unit in ((1e-4, "cm²"), (1e-6, "mm²")):
        if area_m2 >= size:
            return f"{area_m2 / size:.3g} {unit}"
    return f"{area_m2 / 1e-12:.3g} µm²"
