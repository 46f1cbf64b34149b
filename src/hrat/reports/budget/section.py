"""The restriction budget in the report's page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hrat.artifacts import RestrictionBudget
from hrat.reports.html import Bar, Table
from hrat.reports.words import count, percent

__all__ = ["BudgetSection", "budget_section"]


@dataclass(frozen=True, kw_only=True)
class BudgetSection:
    """Costs of restrictions, gains of changes, and figures of layers, in words."""

    head: str
    removed: Sequence[Bar]
    """Percentage points gained when each restriction is removed."""
    alone: Sequence[Bar]
    """Percentage points that each restriction costs alone."""
    outputs: Table
    """Errors of the outputs."""
    steps: Table
    layers: Table


def budget_section(budget: RestrictionBudget, images: str) -> BudgetSection:
    """Section of the page: cost of each restriction, alone and in the full set, gains of changes, and layers."""
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
    return BudgetSection(
        head=f"{percent(budget.ideal)} without restrictions, {percent(budget.full)} ± "
        f"{100 * budget.full_error:.2f} with all of them, worst chip {percent(budget.worst)}; "
        f"{budget.n_images:,} {images}, {count(budget.n_chips, 'chip')}",
        removed=[bar(row.name, row.removed, row.removed_error) for row in budget.rows],
        alone=[bar(row.name, row.alone, row.alone_error) for row in budget.rows],
        outputs=Table(
            "Error of the outputs, relative to their own spread, which tells apart what accuracy cannot where nearly "
            "all images are right",
            ("restriction", "alone", "less when taken away", "accuracy with this and those above"),
            [
                (row.name, percent(row.rms_alone, 1), percent(row.rms_removed, 1), percent(row.so_far))
                for row in budget.rows
            ],
        ),
        steps=steps,
        layers=layers,
    )


def _dB(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.1f}" if math.isfinite(value) else "∞"
