"""Accuracy over chips, and how training went."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from hrat.reports.page.charts import curve, dots
from hrat.reports.page.elements import Table
from hrat.reports.page.parts import ReportParts
from hrat.reports.words import count, percent

__all__ = ["accuracy", "training"]


def accuracy(parts: ReportParts) -> dict[str, Any] | None:
    """A dot for each chip; None where there are no accuracies."""
    result = parts.result
    if result is None or not result.accuracies:
        return None
    shown = [value for value in result.accuracies if not math.isnan(value)]
    if not shown:
        return {"chart": None, "table": _failures(parts)}
    marks = shown if parts.software is None else [*shown, parts.software]
    room = max(max(marks) - min(marks), 0.002)
    low, high = max(min(marks) - 0.1 * room, 0.0), min(max(marks) + 0.1 * room, 1.0)
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


def training(parts: ReportParts) -> dict[str, Any] | None:
    """Loss and accuracy over the epochs; None where nothing is known of them."""
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
