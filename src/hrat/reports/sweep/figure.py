"""A parameter sweep as a picture: curves over one value, a map over two, and the course and slices of a search."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrat.artifacts import SweepTable
from hrat.reports.drawing import BLUE, GREY, INK, LINE, VERMILION, make_plain, new_figure, plain_frame, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["sweep_figure"]

# Okabe and Ito's palette, the strongest first.
COLOURS = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LEAST_OF_LOG = 20.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""
IN_A_ROW = 3


def sweep_figure(table: SweepTable, path: str | os.PathLike[str]) -> Path:
    """Draw a parameter sweep: lines where one number is varied, maps where two are on a grid, else course and slices.

    Args:
        table: with one trial or more that has a result.
        path: a `.png`, `.svg` or `.pdf` file.

    Raises:
        HratError: the suffix stands for no picture.
        OSError: the folder cannot be written or the disk is full.
    """
    names = [name for name in table.varied if name not in ("seed", "method")]
    names = names or ["method" if "method" in table.varied else "seed"]
    numbers = [name for name in names if all(_is_number(row[name]) for row in table.done)]
    if table.search == "grid" and len(names) == 1 and names != ["method"]:
        figure = _curves(table, names[0], is_number=bool(numbers))
    elif table.search == "grid" and len(names) == len(numbers) == 2:
        figure = _maps(table, names)
    else:
        figure = _course_and_slices(table, names)
    figure.suptitle(_title(table), x=0.01, ha="left", fontsize=10, color=INK)
    return save_figure(figure, path)


def _title(table: SweepTable) -> str:
    images = (
        f"{table.held_out:,} held-out training images" if table.score == "val_mean" else f"{table.n_test:,} test images"
    )
    return f"{table.recipe} on {table.data}, hardware {table.spec}; accuracy on {images}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _methods(table: SweepTable) -> list[Any]:
    return list(dict.fromkeys(row.get("method", "") for row in table.done))


def _at(rows: Iterable[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]


def _curves(table: SweepTable, name: str, *, is_number: bool) -> Figure:
    """Mean and worst chip over one value, a line for each method."""
    figure = new_figure(7.5, 4.4)
    axis = figure.add_axes((0.11, 0.13, 0.86, 0.75))
    plain_frame(axis)
    values = list(dict.fromkeys(row[name] for row in table.done))
    values = sorted(values) if is_number else values
    places = values if is_number else list(range(len(values)))
    methods = _methods(table)
    for number, (colour, method) in enumerate(zip(COLOURS * 3, methods, strict=False)):
        if not is_number:  # side by side
            places = [k + 0.5 * ((number + 0.5) / len(methods) - 0.5) for k in range(len(values))]
        means, worst = [], []
        for value in values:
            rows = _at(table.done, **{name: value}, **({"method": method} if method else {}))
            means.append(100 * _mean(rows, table.score) if rows else float("nan"))
            worst.append(100 * min((row[table.score.replace("mean", "worst")] for row in rows), default=float("nan")))
        axis.plot(
            places, means, "o-" if is_number else "o", color=colour, markersize=4, label=method or "mean of the chips"
        )
        if is_number:
            axis.fill_between(places, worst, means, color=colour, alpha=0.15, linewidth=0)
        else:
            axis.vlines(places, worst, means, color=colour, alpha=0.4, linewidth=4)
    if is_number:
        _scale(axis, values)
    else:
        axis.set_xticks(range(len(values)), [str(value) for value in values])
    axis.set_xlabel(name)
    axis.set_ylabel("accuracy, %; down to the worst chip")
    axis.legend(frameon=False, fontsize=9)
    return figure


def _maps(table: SweepTable, names: Sequence[str]) -> Figure:
    """Mean accuracy over two values, a map for each method."""
    methods = _methods(table)
    figure = new_figure(0.8 + 4.6 * len(methods), 4.4)
    across, down = (sorted({row[name] for row in table.done}) for name in names)
    means = [100 * row[table.score] for row in table.done]
    axes = figure.subplots(1, len(methods), squeeze=False)[0]
    figure.subplots_adjust(left=0.6 / figure.get_figwidth(), right=0.98, top=0.86, bottom=0.14)
    for axis, method in zip(axes, methods, strict=True):
        cells = [
            [
                _mean(
                    _at(table.done, **{names[0]: x, names[1]: y}, **({"method": method} if method else {})), table.score
                )
                for x in across
            ]
            for y in down
        ]
        axis.imshow(
            [[100 * cell for cell in line] for line in cells],
            cmap="viridis", vmin=min(means), vmax=max(means), aspect="auto", origin="lower",
        )  # fmt: skip
        middle = (min(means) + max(means)) / 2
        for row, line in enumerate(cells):
            for column, cell in enumerate(line):
                if cell == cell:
                    colour = "white" if 100 * cell < middle else INK
                    axis.text(column, row, f"{100 * cell:.1f}", ha="center", va="center", fontsize=8, color=colour)
        axis.set_xticks(range(len(across)), [f"{value:g}" for value in across])
        axis.set_yticks(range(len(down)), [f"{value:g}" for value in down])
        axis.set_xlabel(names[0])
        axis.set_ylabel(names[1])
        axis.tick_params(labelsize=8, length=0)
        axis.set_title(method or "mean of the chips, %", fontsize=9, color=INK)
    return figure


def _course_and_slices(table: SweepTable, names: Sequence[str]) -> Figure:
    """The best trial so far, and the score over each of the values."""
    panels = 1 + len(names)
    lines = -(-panels // IN_A_ROW)
    figure = new_figure(3.6 * min(panels, IN_A_ROW), 0.5 + 2.9 * lines)
    axes = figure.subplots(lines, min(panels, IN_A_ROW), squeeze=False).flatten()
    scores = [100 * row[table.score] for row in table.done]
    best = [max(scores[: k + 1]) for k in range(len(scores))]
    axes[0].plot(range(1, len(scores) + 1), scores, "o", color=GREY, markersize=3.5, label="each trial")
    axes[0].step(range(1, len(scores) + 1), best, where="post", color=BLUE, label="best so far")
    axes[0].set_xlabel("trial")
    axes[0].legend(frameon=False, fontsize=8)
    winner = table.best
    for axis, name in zip(axes[1:], names, strict=False):
        values = [row[name] for row in table.done]
        places = values
        if not all(_is_number(value) for value in values):
            kinds = sorted({str(value) for value in values})
            places = [kinds.index(str(value)) for value in values]
            axis.set_xticks(range(len(kinds)), kinds)
        else:
            _scale(axis, sorted(set(values)))
        axis.scatter(places, scores, c=range(len(scores)), cmap="Blues", s=16, edgecolors=GREY, linewidths=0.4)
        if winner is not None:
            axis.axvline(places[list(table.done).index(winner)], color=VERMILION, linewidth=1, zorder=0)
        axis.set_xlabel(name)
    for axis in axes[:panels]:
        plain_frame(axis)
        axis.set_ylabel("accuracy, %", fontsize=8)
    for axis in axes[panels:]:
        axis.set_visible(False)
    make_plain(figure)  # before anything asks how large its words are
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    return figure


def _mean(rows: Sequence[dict[str, Any]], column: str) -> float:
    return sum(row[column] for row in rows) / len(rows) if rows else float("nan")


def _scale(axis: Axes, values: Sequence[float]) -> None:
    """Logarithmic where the values ask for it; a tick for each of a few values."""
    if values[0] > 0 and values[-1] / values[0] >= LEAST_OF_LOG:
        axis.set_xscale("log")
    elif len(values) <= 8:
        axis.set_xticks(values, [f"{value:g}" for value in values])
    axis.grid(color=LINE, linewidth=0.5)
