"""Accuracy over chips, and how training went, in the report's page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from hrat.artifacts import SimulationResult
from hrat.reports.html import Dot, Table, curve, dots
from hrat.reports.words import count, percent

__all__ = ["AccuracySection", "TrainingChart", "TrainingSection", "accuracy_section", "training_section"]


@dataclass(frozen=True, kw_only=True)
class AccuracySection:
    """A dot for each chip on a line, and a table."""

    table: Table
    dots: Sequence[Dot] = ()
    """Empty where all chips failed."""
    label: str = ""
    low: str = ""
    """Left end of the line."""
    high: str = ""
    """Right end of the line."""


@dataclass(frozen=True, kw_only=True)
class TrainingChart:
    """Curves over the epochs."""

    title: str
    chart: Markup
    low: str
    high: str
    lines: Sequence[str]
    """Name of each curve."""


@dataclass(frozen=True, kw_only=True)
class TrainingSection:
    """Loss and accuracy over the epochs."""

    charts: Sequence[TrainingChart]
    epochs: int
    table: Table


def accuracy_section(result: SimulationResult | None, accuracy_without_error: float | None) -> AccuracySection | None:
    """A dot for each chip; None where there are no accuracies.

    Args:
        result: result of the chips.
        accuracy_without_error: accuracy of the trained network without programming error, 0 to 1.
    """
    if result is None or not result.accuracies:
        return None
    accuracies = [value for value in result.accuracies if not math.isnan(value)]
    if not accuracies:
        return AccuracySection(table=_failures(result))
    marks = accuracies if accuracy_without_error is None else [*accuracies, accuracy_without_error]
    room = max(max(marks) - min(marks), 0.002)
    low, high = max(min(marks) - 0.1 * room, 0.0), min(max(marks) + 0.1 * room, 1.0)
    return AccuracySection(
        table=_failures(result),
        dots=dots(accuracies, low, high),
        label=f"Accuracy of {count(len(accuracies), 'chip')}, "
        f"from {percent(min(accuracies))} to {percent(max(accuracies))}",
        low=percent(low),
        high=percent(high),
    )


def _failures(result: SimulationResult) -> Table:
    rows = []
    for seed, accuracy in zip(result.seeds, result.accuracies or (), strict=True):
        rows.append((str(seed), result.failures.get(seed, percent(accuracy))))
    return Table("Accuracy of each chip", ("chip (seed)", "accuracy"), rows)


def training_section(rows: Sequence[Mapping[str, float]]) -> TrainingSection | None:
    """Loss and accuracy over the epochs; None where nothing is known of them.

    Args:
        rows: one for each epoch.
    """
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
            charts.append(
                TrainingChart(
                    title=title,
                    chart=curve(lines, label=label),
                    low=show(min(values)),
                    high=show(max(values)),
                    lines=chosen,
                )
            )
    table = Table(
        "Training, by epoch",
        list(rows[0]),
        [[f"{row[key]:.6g}" for key in rows[0]] for row in rows],
    )
    return TrainingSection(charts=charts, epochs=len(rows), table=table)
