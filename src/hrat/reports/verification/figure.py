"""A verification as a picture: how far each depth moves the outputs of each layer."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from hrat.artifacts import Depth, Verification
from hrat.reports.drawing import BLUE, GREY, INK, LINE, VERMILION, figure_format, new_figure, save_figure
from hrat.reports.words import count, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["verification_figure"]

WIDTH_IN, ROW_IN, FOOT_IN, LABELS_IN = 10.0, 0.62, 1.25, 2.1
# Okabe and Ito's again, for more depths than two.
COLORS = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
FLOOR = 1e-12
"""Differences below this share of the signal are drawn here: rounding, nothing more."""


def verification_figure(verification: Verification, path: str | os.PathLike[str]) -> Path:
    """Draw for each layer how far its outputs lie from those of the depth before, as a share of the signal.

    Args:
        verification: what to draw.
        path: a `.png`, `.svg` or `.pdf` file.

    Raises:
        HratError: the suffix stands for no picture.
        OSError: the folder cannot be written or the disk is full.
    """
    figure_format(path)
    solved = [depth for depth in verification.depths if depth.layers]
    title = textwrap.wrap(_headline(verification), 88)
    words = [line for sentence in verification.sentences() for line in textwrap.wrap(f"{sentence}.", 140)]
    n_layers = len(solved[0].layers) if solved else 1
    head_in = 0.4 + 0.33 * len(title) + 0.2 * len(words)
    height_in = head_in + ROW_IN * n_layers + FOOT_IN
    figure = new_figure(WIDTH_IN, height_in)
    for k, line in enumerate(title):
        y = 1 - (0.2 + 0.33 * k) / height_in
        figure.text(0.02, y, line, fontsize=14, fontweight="bold", color=INK, va="top")
    for k, line in enumerate(words):
        y = 1 - (0.25 + 0.33 * len(title) + 0.2 * k) / height_in
        figure.text(0.02, y, line, fontsize=9, color=GREY, va="top")
    plot = figure.add_axes(
        (
            LABELS_IN / WIDTH_IN,
            FOOT_IN / height_in,
            1 - (LABELS_IN + 0.35) / WIDTH_IN,
            ROW_IN * n_layers / height_in,
        )
    )
    if solved:
        _frame(plot, solved[0])
        for place, depth in enumerate(solved):
            _marks(plot, depth, COLORS[place % len(COLORS)], (place + 0.5) / len(solved) - 0.5)
        figure.legend(
            loc="lower center", bbox_to_anchor=(0.5, 0.08 / height_in), ncols=min(4, len(solved)), frameon=False,
            fontsize=9.5, title="dot: root mean square over outputs and images; line: up to the largest difference",
            title_fontsize=9,
        )  # fmt: skip
    return save_figure(figure, path)


def _headline(verification: Verification) -> str:
    deepest = [depth for depth in verification.depths if depth.failure is None][-1]
    images = count(verification.n_images, "image")
    first = verification.depths[0].name
    if deepest.agreement is None:
        return f"{deepest.name} beside {first}, {images}"
    return f"{deepest.name} gives the same class as {first} for {percent(deepest.agreement, 1)} of {images}"


def _frame(plot: Axes, depth: Depth) -> None:
    plot.set_xscale("log")
    plot.set_ylim(len(depth.layers) - 0.5, -0.5)
    plot.set_yticks(range(len(depth.layers)))
    plot.set_yticklabels(
        [f"{layer.layer}\n{1e3 * layer.signal_rms_V:.3g} mV rms" for layer in depth.layers], fontsize=10
    )
    plot.set_xlabel("what each depth changes beside the one before, share of the layer's signal (rms)", fontsize=10)
    plot.tick_params(length=0, colors=INK, which="both")
    plot.grid(axis="x", color=LINE, linewidth=0.8)
    plot.set_axisbelow(True)
    for side in plot.spines.values():
        side.set_visible(False)
    for height in range(1, len(depth.layers)):
        plot.axhline(height - 0.5, color=LINE, linewidth=0.8)


def _marks(plot: Axes, depth: Depth, color: str, shift: float) -> None:
    for height, layer in enumerate(depth.layers):
        signal_V = layer.signal_rms_V or 1.0
        rms, largest = (max(value_V / signal_V, FLOOR) for value_V in (layer.step_rms_V, layer.step_largest_V))
        y = height + 0.7 * shift
        plot.plot([rms, largest], [y, y], color=color, linewidth=1.6, alpha=0.5, solid_capstyle="butt", zorder=3)
        label = depth.name if height == 0 else None
        plot.plot([rms], [y], "o", color=color, markersize=6.5, label=label, zorder=4)
