"""Agreement with the circuit; energy, time and area; the hardware."""

from __future__ import annotations

from typing import Any

from hrat.artifacts.verification import Verification, volts
from hrat.reports.page.elements import Bar, Table
from hrat.reports.page.parts import ReportParts
from hrat.reports.words import count, duration, percent, si
from hrat.spec.pulses import PULSE_MODELS

__all__ = ["costs", "hardware", "verification"]

PART_NAMES = {
    "devices": "devices, V²Gt",
    "drive": "drivers, lost from the supply",
    "amplifiers": "amplifiers at rest",
    "dac": "DACs",
    "adc": "ADCs",
}


def verification(found: Verification) -> dict[str, Any]:
    """One depth of simulation after another, and how far each layer is from the first one."""
    depths = Table(
        f"Chip of seed {found.chip_seed}, {count(found.n_images, 'image')}, one depth of simulation after another",
        ("depth", "adds", "accuracy", "same class", "time"),
        [
            (
                depth.name,
                depth.adds if depth.failure is None else "failed; the summary says why",
                "-" if depth.accuracy is None else percent(depth.accuracy),
                "-" if depth.agreement is None else percent(depth.agreement),
                duration(depth.seconds),
            )
            for depth in found.depths
        ],
    )
    solved = [depth for depth in found.depths if depth.layers]
    layers = Table(
        f"Amplifier outputs: difference from {found.depths[0].name}, rms (largest)",
        ("layer", "signal, rms", *(depth.name for depth in solved)),
        [
            (
                rows[0].layer,
                volts(rows[0].signal_rms_V),
                *(f"{volts(row.rms_V)} ({volts(row.largest_V)})" for row in rows),
            )
            for rows in zip(*(depth.layers for depth in solved), strict=True)
        ]
        if solved
        else [],
    )
    return {"depths": depths, "layers": layers, "said": [sentence + "." for sentence in found.sentences()]}


def costs(parts: ReportParts) -> dict[str, Any] | None:
    """Energy, time and area with all that they rest on; None where they were not estimated."""
    found = parts.estimate
    if found is None:
        return None
    energies = found.parts_J()
    longest = max(energies.values()) or 1.0
    total = found.energy_J or 1.0
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
            for layer in found.layers
        ],
    )
    assumptions = Table(
        "What these figures rest on",
        ("what", "value", "source"),
        [(said.what, said.value, said.source) for said in found.assumptions],
        text=True,
    )
    facts = [
        ("energy", si(found.energy_J, "J"), "for one input"),
        ("time", si(found.latency_s, "s"), "for one input, layer after layer"),
        ("interval", si(found.interval_s, "s"), "between inputs, all layers at work"),
        ("area", _area(found.area_m2), "devices, amplifiers and converters"),
        ("efficiency", f"{found.ops_per_J / 1e12:.3g} TOPS/W", "multiply-accumulate counted as two"),
    ]
    return {"bars": bars, "facts": facts, "layers": layers, "assumptions": assumptions, "n": found.n_images}


def _area(area_m2: float) -> str:
    """0.0041 -> `41 cm²`."""
    for size, unit in ((1e-4, "cm²"), (1e-6, "mm²")):
        if area_m2 >= size:
            return f"{area_m2 / size:.3g} {unit}"
    return f"{area_m2 / 1e-12:.3g} µm²"


def hardware(parts: ReportParts) -> list[tuple[str, Table]]:
    """The spec's sections; of the pulse models the one that is in use."""
    spec = parts.chip.deployment.spec
    found = []
    for section in type(spec).model_fields:
        part = getattr(spec, section)
        unused = section in PULSE_MODELS and section != spec.pulses.model
        if not hasattr(type(part), "model_fields") or unused:
            continue
        rows = []
        for field, info in type(part).model_fields.items():
            value = getattr(part, field)
            source = spec.sources.get(f"{section}.{field}", "")
            rows.append((field, _value(value), (info.description or "").strip(), source))
        found.append((section, Table(f"[{section}]", ("field", "value", "meaning", "source"), rows, text=True)))
    return found


def _value(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        if len(value) > 12 or any(isinstance(part, tuple) for part in value):
            return f"a list of {len(value)}"
        return ", ".join(_value(part) for part in value) or "none"
    return str(value)
