"""A comparison as a picture that can be understood without the text around it."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from hrat.artifacts import Comparison, ComparisonRow
from hrat.reports.comparison.axis import AccuracyAxis
from hrat.reports.comparison.table import FLOAT
from hrat.reports.drawing import BLUE, GREY, INK, LINE, VERMILION, figure_format, new_figure, save_figure
from hrat.reports.words import count, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["comparison_figure"]

WIDTH_IN, ROW_IN, FOOT_IN = 10.0, 0.66, 1.05
LABELS_IN, RIGHT_IN = 2.35, 0.35
TITLE_IN, LINE_IN = 0.33, 0.22
HIGHLIGHT = "hrat"


def comparison_figure(comparison: Comparison, path: str | os.PathLike[str]) -> Path:
    """Draw each method as a strip of dots, one for each chip, with the mean, the worst chip and the float network.

    Args:
        comparison: what to draw.
        path: a `.png`, `.svg` or `.pdf` file.

    Raises:
        HratError: the suffix stands for no picture.
        OSError: the folder cannot be written or the disk is full.
    """
    figure_format(path)
    rows = sorted(comparison.rows, key=lambda row: row.method != FLOAT)  # stable: the order of the others stays
    title = textwrap.wrap(_headline(comparison), 84)
    words = [line for sentence in _sentences(comparison) for line in textwrap.wrap(sentence, 132)]
    head_in = 0.25 + TITLE_IN * len(title) + LINE_IN * len(words) + 0.1
    height_in = head_in + ROW_IN * len(rows) + FOOT_IN
    figure = new_figure(WIDTH_IN, height_in)
    _head(figure, title, words, height_in)
    plot = figure.add_axes(
        (
            LABELS_IN / WIDTH_IN,
            FOOT_IN / height_in,
            1 - (LABELS_IN + RIGHT_IN) / WIDTH_IN,
            ROW_IN * len(rows) / height_in,
        )
    )
    axis = AccuracyAxis.around([a for row in rows for a in row.accuracies], comparison.n_test)
    _frame(plot, axis, rows)
    for height, row in enumerate(rows):
        _strip(plot, axis, row, height)
    _legend(plot, rows, height_in)
    return save_figure(figure, path)


def _headline(comparison: Comparison) -> str:
    chips = [row for row in comparison.rows if row.method != FLOAT]
    reference = next((row for row in comparison.rows if row.method == FLOAT), None)
    reference_text = f"{percent(reference.mean, 1)} in floating point" if reference is not None else ""
    if not chips:
        return reference_text
    best = max(chips, key=lambda row: row.mean)
    text = f"{best.label}: {percent(best.mean, 1)} right on {count(comparison.n_chips, 'simulated chip')}"
    return f"{text}, {reference_text}" if reference_text else text


def _sentences(comparison: Comparison) -> list[str]:
    epochs = {row.epochs for row in comparison.rows}
    training = f", {count(epochs.pop(), 'epoch')}" if len(epochs) == 1 else ""
    chips = "the same chips for all methods" if comparison.n_chips > 1 else "the same chip for all methods"
    return [
        f"{comparison.network} on {comparison.data}: {count(comparison.n_train, 'image')} to train{training}; "
        f"{count(comparison.n_test, 'image')} to test, {chips}",
        f"Hardware {comparison.spec}: {comparison.spec_summary}",
    ]


def _head(figure: Figure, title: list[str], words: list[str], height_in: float) -> None:
    y_in = height_in - 0.2
    for line in title:
        figure.text(0.02, y_in / height_in, line, fontsize=14, fontweight="bold", color=INK, va="top")
        y_in -= TITLE_IN
    for line in words:
        figure.text(0.02, y_in / height_in, line, fontsize=9.5, color=GREY, va="top")
        y_in -= LINE_IN


def _frame(plot: Axes, axis: AccuracyAxis, rows: list[ComparisonRow]) -> None:
    plot.set_xlim(*axis.limits)
    plot.set_ylim(len(rows) - 0.5, -0.5)
    ticks = axis.ticks()
    digits = max((len(f"{100 * tick:.6g}".partition(".")[2]) for tick in ticks), default=0)
    plot.set_xticks([axis.place(tick) for tick in ticks])
    plot.set_xticklabels([percent(tick, 0 if axis.stretched and tick <= 0.99 else digits) for tick in ticks])
    plot.minorticks_off()
    widened = "; the axis widens towards 100 %" if axis.stretched else ""
    plot.set_xlabel(f"test accuracy (share of images classified right{widened})", fontsize=10, color=INK)
    plot.set_yticks(range(len(rows)))
    plot.set_yticklabels([textwrap.fill(row.label, 26) for row in rows], fontsize=11)
    for label, row in zip(plot.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row.method == HIGHLIGHT else "normal")
    plot.tick_params(length=0, colors=INK)
    plot.grid(axis="x", color=LINE, linewidth=0.8)
    plot.set_axisbelow(True)
    for side in plot.spines.values():
        side.set_visible(False)
    for height in range(1, len(rows)):
        plot.axhline(height - 0.5, color=LINE, linewidth=0.8)
    for row in rows:
        if row.method == FLOAT:
            plot.axvline(axis.place(row.mean), color=INK, linestyle=(0, (4, 3)), linewidth=1.2, zorder=2)


def _strip(plot: Axes, axis: AccuracyAxis, row: ComparisonRow, height: int) -> None:
    mean = axis.place(row.mean)
    if row.method == FLOAT:
        plot.plot([mean], [height], "D", color=INK, markersize=7, zorder=4)
        low, high = axis.limits
        rightwards = mean < (low + high) / 2
        plot.annotate(
            percent(row.mean), (mean, height), (9 if rightwards else -9, 0), textcoords="offset points", fontsize=9,
            ha="left" if rightwards else "right", va="center", color=INK, fontweight="bold", zorder=7,
        )  # fmt: skip
        return
    color = BLUE if row.method == HIGHLIGHT else GREY
    # Sorted, so that equal chips are neighbours, which the golden ratio keeps apart, the same way each time.
    accuracies = sorted(row.accuracies)
    places = [axis.place(accuracy) for accuracy in accuracies]
    heights = [height + 0.3 * ((0.5 + k * 0.6180339887) % 1.0 - 0.5) for k in range(len(places))]
    plot.plot(places, heights, "o", color=color, alpha=0.55, markersize=6.5, markeredgewidth=0, zorder=3)
    plot.plot([mean, mean], [height - 0.2, height + 0.2], color=INK, linewidth=2.4, solid_capstyle="butt", zorder=5)
    _label(plot, mean, height - 0.2, percent(row.mean), bold=True)
    if len(places) > 1:
        plot.plot(
            places[:1], heights[:1], "o", markersize=9, markerfacecolor="none", zorder=6,
            markeredgecolor=VERMILION, markeredgewidth=1.8,
        )  # fmt: skip
        _label(plot, places[0], height + 0.2, f"worst {percent(row.worst)}", color=VERMILION)


def _label(plot: Axes, x: float, y: float, text: str, *, color: str = INK, bold: bool = False) -> None:
    low, high = plot.get_xlim()
    share = (x - low) / (high - low)
    side = "left" if share < 0.07 else "right" if share > 0.93 else "center"
    plot.annotate(
        text, (x, y), (0, 1.5 if bold else -1.5), textcoords="offset points", ha=side, color=color, fontsize=9,
        va="bottom" if bold else "top", fontweight="bold" if bold else "normal", zorder=7,
    )  # fmt: skip


def _legend(plot: Axes, rows: list[ComparisonRow], height_in: float) -> None:
    from matplotlib.lines import Line2D

    dot = Line2D([], [], marker="o", linestyle="", color=GREY, alpha=0.7, markersize=6.5, label="one chip")
    bar = Line2D([], [], marker="|", linestyle="", color=INK, markersize=12, markeredgewidth=2.4, label="mean")
    handles = [dot, bar]
    if any(len(row.accuracies) > 1 for row in rows):
        ring = Line2D([], [], marker="o", linestyle="", color=VERMILION, markersize=9, label="worst chip")
        ring.set(markerfacecolor="none", markeredgewidth=1.8)
        handles.append(ring)
    if any(row.method == FLOAT for row in rows):
        handles.append(Line2D([], [], color=INK, linestyle=(0, (4, 3)), linewidth=1.2, label="float network, no chip"))
    plot.figure.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(0.5, 0.08 / height_in), ncols=4, frameon=False, fontsize=10
    )
