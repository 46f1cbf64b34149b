"""A restriction budget as a picture: costs of restrictions, gains of changes, and signal loss by layer."""

from __future__ import annotations

import math
import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from hrat.artifacts import RestrictionBudget
from hrat.reports.drawing import BLUE, GREY, INK, LINE, VERMILION, new_figure, plain_frame, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["budget_figure"]

MOST_STEPS = 8
MOST_DB = 60.0


def budget_figure(budget: RestrictionBudget, path: str | os.PathLike[str]) -> Path:
    """Draw the costs of each restriction, the steps that would help, and the layers' signal-to-error ratios.

    Args:
        budget: what to draw.
        path: a `.png`, `.svg` or `.pdf` file.

    Raises:
        HratError: the suffix stands for no picture.
        OSError: the folder cannot be written or the disk is full.
    """
    steps = budget.steps[:MOST_STEPS]
    height_in = 1.85 + 0.42 * max(len(budget.rows), len(steps), 3) + 0.3 * len(budget.layers) + 1.2
    figure = new_figure(11.0, height_in)
    words = [line for sentence in budget.sentences() for line in textwrap.wrap(sentence, 150)]
    for number, line in enumerate(words):
        figure.text(0.01, 1 - (0.22 + 0.2 * number) / height_in, line, fontsize=9, color=INK, va="top")
    head = (0.35 + 0.2 * len(words)) / height_in
    grid = figure.add_gridspec(
        2, 2,
        height_ratios=(0.42 * max(len(budget.rows), len(steps), 3), 0.3 * max(1, len(budget.layers)) + 0.3),
        left=0.11, right=0.985, top=1 - head - 0.3 / height_in, bottom=0.85 / height_in, hspace=0.42, wspace=0.42,
    )  # fmt: skip
    _costs(figure.add_subplot(grid[0, 0]), budget)
    _steps(figure.add_subplot(grid[0, 1]), budget)
    _ladder(figure.add_subplot(grid[1, :]), budget)
    return save_figure(figure, path)


def _costs(axis: Axes, budget: RestrictionBudget) -> None:
    plain_frame(axis)
    names = [row.name for row in budget.rows]
    places = range(len(names))
    for offset, colour, label, values, errors in (
        (-0.18, GREY, "alone", [r.alone for r in budget.rows], [r.alone_error for r in budget.rows]),
        (0.18, BLUE, "taken away from all", [r.removed for r in budget.rows], [r.removed_error for r in budget.rows]),
    ):
        axis.barh(
            [place + offset for place in places], [100 * value for value in values], 0.34,
            xerr=[200 * error for error in errors], color=colour, label=label, ecolor=INK, error_kw={"elinewidth": 1},
        )  # fmt: skip
    axis.axvline(0, color=INK, linewidth=0.8)
    axis.set_yticks(list(places), names)
    axis.invert_yaxis()
    axis.set_xlabel("cost in points of accuracy, +- 2 standard errors", fontsize=8)
    axis.set_title("What each restriction costs", fontsize=10, loc="left", color=INK)
    axis.legend(frameon=False, fontsize=8)


def _steps(axis: Axes, budget: RestrictionBudget) -> None:
    plain_frame(axis)
    steps = budget.steps[:MOST_STEPS]
    best = None if budget.verified is None else budget.verified.field
    axis.barh(
        range(len(steps)), [100 * step.gain for step in steps], 0.5, xerr=[200 * step.gain_error for step in steps],
        color=[VERMILION if step.field == best else GREY for step in steps], ecolor=INK, error_kw={"elinewidth": 1},
    )  # fmt: skip
    axis.axvline(0, color=INK, linewidth=0.8)
    labels = [f"{step.field.split('.')[1]}\n{step.before:g} -> {step.after:g}" for step in steps]
    axis.set_yticks(range(len(steps)), labels, fontsize=7)
    axis.invert_yaxis()
    axis.set_xlabel("points won, +- 2 standard errors; the network as trained", fontsize=8)
    axis.set_title("What one number more would win", fontsize=10, loc="left", color=INK)


def _ladder(axis: Axes, budget: RestrictionBudget) -> None:
    """Signal-to-error ratio of each layer under each restriction."""
    plain_frame(axis)
    names = [*(row.name for row in budget.rows), "all"]
    markers = "osD^vPX*<>"
    for number, name in enumerate(names):
        values = [min(MOST_DB, layer.snr_dB.get(name, math.inf)) for layer in budget.layers]
        strong = name == "all"
        axis.plot(
            values, range(len(values)), markers[number % len(markers)], markersize=7 if strong else 5,
            color=INK if strong else f"C{number}", label=name, linestyle="-" if strong else "", linewidth=1,
        )  # fmt: skip
    axis.set_yticks(range(len(budget.layers)), [layer.name for layer in budget.layers], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(right=MOST_DB + 2)
    axis.grid(color=LINE, linewidth=0.5)
    axis.set_xlabel(f"signal-to-error ratio at the layer's output, dB ({MOST_DB:g} and more at the edge)", fontsize=8)
    axis.set_title("Where signals are lost", fontsize=10, loc="left", color=INK)
    handles, labels = axis.get_legend_handles_labels()
    axis.figure.legend(handles, labels, frameon=False, fontsize=8, ncols=len(names), loc="lower center")
