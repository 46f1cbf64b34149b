"""A restriction budget on the terminal."""

from __future__ import annotations

import math

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from hrat.artifacts import RestrictionBudget
from hrat.reports.words import percent, safe_markup

__all__ = ["budget_table"]


def budget_table(budget: RestrictionBudget) -> Group:
    """Table of the costs, the steps, the layers, and the result in words."""
    return Group(_costs(budget), _steps(budget), _layers(budget), *(Text(line) for line in budget.sentences()))


def _table(title: str, *headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", padding=(0, 1, 0, 0))
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    return table


def _points(value: float, error: float) -> str:
    return f"{100 * value:.2f} +- {100 * error:.2f}"


def _costs(budget: RestrictionBudget) -> Table:
    title = (
        f"Accuracy: {percent(budget.ideal)} without restrictions, {percent(budget.full)} with all, worst chip "
        f"{percent(budget.worst)}; {budget.n_images:,} images, {budget.n_chips} chips"
    )
    table = _table(
        title, "restriction", "costs alone, points", "taken away wins", "output error alone", "with those above"
    )
    for row in budget.rows:
        table.add_row(
            safe_markup(row.name),
            _points(row.alone, row.alone_error),
            _points(row.removed, row.removed_error),
            f"{row.rms_alone:.1%}",
            percent(row.so_far),
        )
    return table


def _steps(budget: RestrictionBudget) -> Table:
    table = _table("One number changed, the network as trained", "field", "change", "wins, points", "less output error")
    for step in budget.steps:
        table.add_row(
            safe_markup(step.field),
            f"{step.before:g} -> {step.after:g}",
            _points(step.gain, step.gain_error),
            f"{step.rms_gain:.1%}",
        )
    return table


def _layers(budget: RestrictionBudget) -> Table:
    table = _table(
        "Layers: 99.9 % quantiles of the signals before any limit and the part beyond it; signal-to-error ratio",
        *("layer", "in, V", "out, V", "SNR, dB", "least by", "states", "at edge", "codes"),
    )
    for layer in budget.layers:
        alone = {name: value for name, value in layer.snr_dB.items() if name != "all"}
        total = layer.snr_dB["all"]
        table.add_row(
            safe_markup(layer.name),
            f"{layer.input_peak_V:.3g} ({layer.input_clamped:.1%})",
            f"{layer.output_peak_V:.3g} ({layer.output_clamped:.1%})",
            f"{total:.1f}" if math.isfinite(total) else "inf",
            safe_markup(min(alone, key=lambda name: alone[name], default="-")),
            f"{layer.states_used}, {layer.states_bits:.1f} bit",
            f"{layer.weights_at_edge:.1%}",
            f"{layer.bias_codes_used}" if layer.bias_codes_used else "-",
        )
    return table
