"""Result of programming pulses for each target state, as a picture: the error's distribution, pulses, and failures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hrat.artifacts import Characterisation
from hrat.reports.drawing import BLUE, GREY, INK, US, VERMILION, figure_format, new_figure, plain_frame, save_figure
from hrat.reports.words import percent
from hrat.spec import TABLE_PROBABILITIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["characterisation_figure"]

BANDS = ((0.001, 0.15, "99.8 % of devices"), (0.1, 0.3, "80 %"), (0.3, 0.5, "40 %"))
"""Lower probability, opacity, and what lies between it and its mirror image."""


def characterisation_figure(table: Characterisation, path: str | os.PathLike[str]) -> Path:
    """Draw achieved minus target over the targets, and beside it the pulses and the share that was not reached.

    Args:
        table: what `hrat.characterise` returned.
        path: a `.png`, `.svg` or `.pdf` file.

    Raises:
        HratError: the suffix stands for no picture.
        OSError: the folder cannot be written or the disk is full.
    """
    figure_format(path)
    figure = new_figure(11.0, 4.4)
    programming = table.spec.programming
    figure.text(0.02, 0.96, "What pulses reach", fontsize=14, fontweight="bold", color=INK, va="top")
    line = (
        f"{table.spec.name}, {programming.scheme.replace('_', '-')}, at most {programming.max_pulses} pulses; "
        f"{table.devices:,} virtual devices for each state; rms error {percent(table.rms_rel, 1)} of the window"
    )
    figure.text(0.02, 0.885, line, fontsize=9.5, color=GREY, va="top")
    grid = figure.add_gridspec(1, 2, left=0.075, right=0.93, bottom=0.13, top=0.79, wspace=0.22, width_ratios=[1.6, 1])
    _errors(figure.add_subplot(grid[0, 0]), table)
    _pulses(figure.add_subplot(grid[0, 1]), table)
    return save_figure(figure, path)


def _errors(axis: Axes, table: Characterisation) -> None:
    targets = [state.target_S * US for state in table.states]
    for low, opacity, label in BANDS:
        # The mirror image lies as far from the list's end as the probability from its beginning.
        index = TABLE_PROBABILITIES.index(low)
        lower = [(state.quantiles_S[index] - state.target_S) * US for state in table.states]
        upper = [(state.quantiles_S[-1 - index] - state.target_S) * US for state in table.states]
        axis.fill_between(targets, lower, upper, color=BLUE, alpha=opacity, linewidth=0, label=label)
    means = [(state.mean_S - state.target_S) * US for state in table.states]
    axis.plot(targets, means, color=INK, linewidth=1.2, marker="o", markersize=3, label="mean")
    axis.axhline(0.0, color=GREY, linewidth=0.8)
    axis.set_title("achieved minus target, µS", fontsize=10, color=INK, loc="left")
    axis.set_xlabel("target, µS", fontsize=9, color=INK)
    axis.legend(fontsize=8, frameon=False, loc="best")
    plain_frame(axis)


def _pulses(axis: Axes, table: Characterisation) -> None:
    targets = [state.target_S * US for state in table.states]
    axis.plot(targets, [state.mean_pulses for state in table.states], color=BLUE, marker="o", markersize=3)
    axis.set_ylim(bottom=0)
    axis.set_title("pulses for a device, mean", fontsize=10, color=BLUE, loc="left")
    axis.set_xlabel("target, µS", fontsize=9, color=INK)
    plain_frame(axis)
    failures = axis.twinx()
    failures.plot(targets, [100 * state.budget_spent for state in table.states], color=VERMILION, linestyle="--")
    failures.set_ylim(0, max(100 * max(state.budget_spent for state in table.states), 1) * 1.05)
    failures.set_title("not reached, %", fontsize=10, color=VERMILION, loc="right")
    failures.tick_params(labelsize=8, length=2, colors=VERMILION)
    for side in ("top", "left"):
        failures.spines[side].set_visible(False)
