"""What the page's template shows, worked out of the artefacts: numbers become words here, not in the template."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hrat.artifacts import PulseColumns, RestrictionBudget, Status
from hrat.artifacts.verification import Verification, volts
from hrat.reports.page.charts import curve, dots, histogram, quantile
from hrat.reports.page.parts import ReportParts
from hrat.reports.sides import error_rms
from hrat.reports.words import count, duration, percent, si
from hrat.spec.pulses import PULSE_MODELS

__all__ = ["Table", "view"]

US = 1e6
PART_NAMES = {
    "devices": "devices, V²Gt",
    "drive": "drivers, lost from the supply",
    "amplifiers": "amplifiers at rest",
    "dac": "DACs",
    "adc": "ADCs",
}


@dataclass(frozen=True)
class Table:
    """A table: the first column is text, the others are numbers unless they say otherwise."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: bool = False
    """Whether all columns are text."""


@dataclass(frozen=True)
class Bar:
    """A bar with its error, as parts of the longest one."""

    name: str
    value: str
    share: float
    error: float = 0.0
    negative: bool = False


def view(parts: ReportParts) -> dict[str, Any]:
    """All that the template asks for."""
    return {
        "title": parts.title,
        "subtitle": _subtitle(parts),
        "facts": dict(parts.facts),
        "tiles": _tiles(parts),
        "said": _said(parts),
        "accuracy": _accuracy(parts),
        "training": _training(parts),
        "budget": None if parts.budget is None else _budget(parts.budget, parts.budget_on),
        "layers": _layers(parts),
        "histograms": _histograms(parts),
        "pulses": _pulses(parts) if parts.chip.has_pulses else None,
        "verification": None if parts.verification is None else _verification(parts.verification),
        "estimate": _estimate(parts),
        "spec": _spec(parts),
        "missing": dict(parts.missing),
    }


def _subtitle(parts: ReportParts) -> str:
    deployment = parts.chip.deployment
    device = deployment.spec.device
    states = f"{device.n_states} states" if device.n_states else "continuous conductance"
    return (
        f"{deployment.spec.name}: {states}, {device.g_min_S * US:g} to {device.g_max_S * US:g} µS; "
        f"{count(len(parts.chip.layers), 'layer')}, {count(deployment.n_tiles, 'tile')}, "
        f"{count(deployment.n_devices, 'device')} a chip; {count(parts.chip.n_chips, 'chip')}, "
        f"programmed by {parts.chip.scheme}"
    )


def _tiles(parts: ReportParts) -> list[tuple[str, str, str]]:
    """(name, value, note) of the figures that stand on top."""
    found = []
    result = parts.result
    if result is not None and result.accuracies:
        chips = count(len(result.accuracies), "chip")
        name = "Accuracy, mean" if len(result.accuracies) > 1 else "Accuracy"
        found.append((name, percent(result.mean), f"{chips}, {result.n_images:,} test images"))
        if len(result.accuracies) > 1:
            found.append(("Worst chip", percent(result.worst), f"of {chips}"))
    if parts.software is not None:
        found.append(("As trained", percent(parts.software), "the network without programming errors"))
    if parts.budget is not None:
        budget = parts.budget
        found.append(
            (
                "Cost of all restrictions",
                f"{100 * budget.cost:.2f} points",
                f"±{100 * budget.full_error:.2f} over chips, on {parts.budget_on}",
            )
        )
    share = error_rms(parts.chip)
    window_S = parts.chip.deployment.spec.device.g_range_S
    found.append(("Programming error", percent(share), f"of the window, rms; {si(share * window_S, 'S')}"))
    if parts.verification is not None and len(parts.verification.depths) > 1:
        last = [depth for depth in parts.verification.depths if depth.failure is None][-1]
        if last.agreement is not None:
            note = f"{last.name} against the formula, {parts.verification.n_images} images"
            found.append(("Same class on the circuit", percent(last.agreement), note))
    if parts.estimate is not None:
        estimate = parts.estimate
        found.append(("Energy, estimated", si(estimate.energy_J, "J"), "for one input"))
        found.append(
            ("Time, estimated", si(estimate.latency_s, "s"), f"for one input; one each {si(estimate.interval_s, 's')}")
        )
    return found


def _said(parts: ReportParts) -> list[str]:
    said = []
    if parts.budget is not None:
        said += parts.budget.sentences()
    if parts.verification is not None:
        said += [sentence + "." for sentence in parts.verification.sentences()]
    return said


# ---- accuracy and training -------------------------------------------------------------------------------------------


def _accuracy(parts: ReportParts) -> dict[str, Any] | None:
    result = parts.result
    if result is None or not result.accuracies:
        return None
    marks = [value for value in (*result.accuracies, parts.software) if value is not None and not math.isnan(value)]
    if not marks:
        return {"chart": None, "table": _failures(parts)}
    room = max(max(marks) - min(marks), 0.002)
    low, high = max(min(marks) - 0.1 * room, 0.0), min(max(marks) + 0.1 * room, 1.0)
    shown = [value for value in result.accuracies if not math.isnan(value)]
    label = f"Accuracy of {count(len(shown), 'chip')}, from {percent(min(shown))} to {percent(max(shown))}"
    return {
        "chart": dots(shown, low, high),
        "label": label,
        "low": percent(low),
        "high": percent(high),
        "table": _failures(parts),
    }


def _failures(parts: ReportParts) -> Table:
    result = parts.result
    assert result is not None
    rows = []
    for seed, accuracy in zip(result.seeds, result.accuracies or (), strict=True):
        rows.append((str(seed), result.failures.get(seed, percent(accuracy))))
    return Table("Accuracy of each chip", ("chip (seed)", "accuracy"), rows)


def _training(parts: ReportParts) -> dict[str, Any] | None:
    rows = parts.training
    if not rows:
        return None
    keys = [key for key in ("loss", "val_loss") if key in rows[0]]
    marks = [key for key in ("accuracy", "val_accuracy") if key in rows[0]]
    charts = []
    kinds: list[tuple[str, list[str], Callable[[float], str]]] = [
        ("loss", keys, "{:.3g}".format),
        ("accuracy", marks, percent),
    ]
    for title, chosen, show in kinds:
        lines = [(f"line{number}", [float(row[key]) for row in rows]) for number, key in enumerate(chosen)]
        values = [value for _, line in lines for value in line if math.isfinite(value)]
        if values:
            label = f"{title} over {len(rows)} epochs, from {show(values[0])} to {show(values[-1])}"
            charts.append((title, curve(lines, label=label), show(min(values)), show(max(values)), chosen))
    table = Table(
        "Training, by epoch",
        list(rows[0]),
        [[f"{row[key]:.6g}" for key in rows[0]] for row in rows],
    )
    return {"charts": charts, "epochs": len(rows), "table": table}


# ---- the restriction budget ------------------------------------------------------------------------------------------


def _budget(budget: RestrictionBudget, images: str) -> dict[str, Any]:
    longest = max((abs(row.removed) + row.removed_error for row in budget.rows), default=0.0) or 1.0
    longest = max(longest, *(abs(row.alone) + row.alone_error for row in budget.rows)) if budget.rows else longest

    def bar(name: str, value: float, error: float) -> Bar:
        return Bar(
            name, f"{100 * value:.2f} ± {100 * error:.2f}", abs(value) / longest, error / longest, negative=value < 0
        )

    steps = Table(
        "One number of the spec changed, the network as trained",
        ("field", "change", "wins, points", "less output error"),
        [
            (
                step.field,
                f"{step.before:g} → {step.after:g}",
                f"{100 * step.gain:.2f} ± {100 * step.gain_error:.2f}",
                percent(step.rms_gain, 1),
            )
            for step in budget.steps
        ],
    )
    names = [row.name for row in budget.rows]
    layers = Table(
        "Layers",
        (
            "layer",
            "in, V",
            "out, V",
            "SNR, all",
            *(f"SNR, {name}" for name in names),
            "states",
            "at edge",
            "bias codes",
        ),
        [
            (
                layer.name,
                f"{layer.input_peak_V:.3g} ({percent(layer.input_clamped, 1)})",
                f"{layer.output_peak_V:.3g} ({percent(layer.output_clamped, 1)})",
                _dB(layer.snr_dB.get("all", math.nan)),
                *(_dB(layer.snr_dB.get(name, math.nan)) for name in names),
                f"{layer.states_used} ({layer.states_bits:.1f} bit)",
                percent(layer.weights_at_edge, 1),
                f"{layer.bias_codes_used}"
                + (f" ({percent(layer.bias_saturated, 1)} sat.)" if layer.bias_saturated else ""),
            )
            for layer in budget.layers
        ],
    )
    return {
        "head": f"{percent(budget.ideal)} without restrictions, {percent(budget.full)} ± "
        f"{100 * budget.full_error:.2f} with all of them, worst chip {percent(budget.worst)}; "
        f"{budget.n_images:,} {images}, {count(budget.n_chips, 'chip')}",
        "removed": [bar(row.name, row.removed, row.removed_error) for row in budget.rows],
        "alone": [bar(row.name, row.alone, row.alone_error) for row in budget.rows],
        "outputs": Table(
            "Error of the outputs, relative to their own spread, which tells apart what accuracy cannot where nearly "
            "all images are right",
            ("restriction", "alone", "less when taken away", "accuracy with this and those above"),
            [
                (row.name, percent(row.rms_alone, 1), percent(row.rms_removed, 1), percent(row.so_far))
                for row in budget.rows
            ],
        ),
        "steps": steps,
        "layers": layers,
    }


def _dB(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.1f}" if math.isfinite(value) else "∞"


# ---- layers and devices ----------------------------------------------------------------------------------------------


def _layers(parts: ReportParts) -> Table:
    chip, deployment = parts.chip, parts.chip.deployment
    rows = []
    for name, layer in deployment.layers.items():
        groups, n_rows, n_cols = layer.array_shape
        shape = f"{n_rows} x {n_cols}" if groups == 1 else f"{groups} of {n_rows} x {n_cols}"
        pos, neg = chip.errors_S(name)
        square = float(pos.double().square().mean() + neg.double().square().mean()) / 2
        rms_S = math.sqrt(square)
        bias = "-" if layer.bias_V is None else f"{float(layer.bias_V.abs().max()):.3g}"
        rows.append(
            (
                name,
                layer.geometry.kind,
                shape,
                f"{len(deployment.tiles(name)):,}",
                f"{2 * layer.g_pos_S.numel():,}",
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


def _histograms(parts: ReportParts) -> dict[str, Any]:
    chip = parts.chip
    device = chip.deployment.spec.device
    errors = {name: torch.cat([e.flatten() for e in chip.errors_S(name)]) for name in chip.layers}
    limit_S = max((quantile(error.abs(), 0.999) for error in errors.values()), default=0.0) or device.g_range_S / 100
    top_S = max(device.g_max_S + 2 * limit_S, *(quantile(_achieved(parts, name), 0.9999) for name in chip.layers))
    shown = []
    for name in chip.layers:
        target = chip.deployment.layers[name]
        wanted = torch.cat([target.g_pos_S.flatten(), target.g_neg_S.flatten()])
        label = f"Conductances of layer {name}: targets, and what the devices hold"
        levels = histogram(
            [("achieved", _achieved(parts, name)), ("target", wanted)], 0.0, top_S, bins=120, label=label
        )
        spread = histogram(
            [("error", errors[name])],
            -limit_S,
            limit_S,
            bins=61,
            label=f"Errors of layer {name}, achieved minus target",
        )
        shown.append((name, levels, spread))
    return {"layers": shown, "top": f"{top_S * US:.3g} µS", "limit": f"{limit_S * US:.3g} µS"}


def _achieved(parts: ReportParts, name: str) -> Tensor:
    layer = parts.chip.layers[name]
    return torch.cat([layer.g_pos_S.flatten(), layer.g_neg_S.flatten()])


def _pulses(parts: ReportParts) -> dict[str, Any]:
    chip = parts.chip
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
    return {
        "table": Table("Programming, all chips together", headings, rows),
        "chart": histogram([("error", pulses.float())], 0.0, top, bins=min(int(top) + 1, 100), label=label),
        "top": f"{top:.0f}",
        "failed": f"{failed.numel():,}",
        "said": str(chip.pulse_totals()) + ".",
    }


# ---- circuit and costs -----------------------------------------------------------------------------------------------


def _verification(found: Verification) -> dict[str, Any]:
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


def _estimate(parts: ReportParts) -> dict[str, Any] | None:
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


def _spec(parts: ReportParts) -> list[tuple[str, Table]]:
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
