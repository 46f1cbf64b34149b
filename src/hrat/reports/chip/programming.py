"""How a chip was programmed, as a picture: achieved against target, pulses spent, and where devices failed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from hrat.artifacts import ProgrammedChip, Status
from hrat.reports.drawing import (
    BLUE,
    GREY,
    INK,
    LINE,
    US,
    VERMILION,
    figure_format,
    new_figure,
    plain_frame,
    save_figure,
)
from hrat.reports.words import count, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["programming_figure"]

WIDTH_IN, HEIGHT_IN = 12.0, 4.9
MOST_POINTS = 20_000
"""Points of the scatter; more would cover each other."""


def programming_figure(chip: ProgrammedChip, path: str | os.PathLike[str]) -> Path:
    """Draw targets against what was achieved, the pulses that it took, and a map of the devices that were not reached.

    Without pulses (the statistical scheme) the middle shows the errors instead, and the map the largest of them.

    Args:
        chip: one or several chips; the map is that of the first one's largest layer.
        path: a `.png`, `.svg` or `.pdf` file.

    Raises:
        HratError: the suffix stands for no picture.
        OSError: the folder cannot be written or the disk is full.
    """
    figure_format(path)
    figure = new_figure(WIDTH_IN, HEIGHT_IN)
    grid = figure.add_gridspec(1, 3, left=0.06, right=0.985, bottom=0.13, top=0.78, wspace=0.28)
    axes = [figure.add_subplot(grid[0, column]) for column in range(3)]
    _head(figure, chip)
    _scatter(axes[0], chip)
    if chip.has_pulses:
        _pulses(axes[1], chip)
    else:
        _errors(axes[1], chip)
    _map(axes[2], chip)
    for axis in axes:
        plain_frame(axis, grid=False)
    return save_figure(figure, path)


def _head(figure: Figure, chip: ProgrammedChip) -> None:
    spec = chip.deployment.spec
    lines = [
        f"{spec.name}, scheme {chip.scheme.replace('_', '-')}: {count(chip.n_chips, 'chip')} of "
        f"{count(chip.deployment.n_devices, 'device')}"
    ]
    if chip.has_pulses:
        totals = chip.pulse_totals()
        lines[0] += f", at most {spec.programming.max_pulses} pulses each"
        lines.append(
            f"{totals.mean_pulses:.1f} pulses a device, at most {totals.most_pulses}; "
            f"{percent(totals.budget_spent / totals.devices, 2)} not reached, "
            f"{percent(totals.stuck / totals.devices, 2)} stuck; {totals.energy_J:.3g} J in pulses"
        )
    figure.text(0.02, 0.965, "How the chip was programmed", fontsize=14, fontweight="bold", color=INK, va="top")
    for number, line in enumerate(lines):
        figure.text(0.02, 0.90 - 0.043 * number, line, fontsize=9.5, color=GREY, va="top")


def _flat(chip: ProgrammedChip) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Targets, achieved conductances, uS, and whether each device was reached; evenly thinned out, large layers too."""
    targets, achieved, reached = [], [], []
    step = max(1, chip.n_chips * chip.deployment.n_devices // MOST_POINTS)
    for name, layer in chip.layers.items():
        target = chip.deployment.layers[name]
        for target_S, g_S, columns in (
            (target.g_pos_S, layer.g_pos_S, layer.pos_pulses),
            (target.g_neg_S, layer.g_neg_S, layer.neg_pulses),
        ):
            flat = g_S.flatten()[::step].double()
            targets.append(target_S.expand(g_S.shape).flatten()[::step].double() * US)
            achieved.append(flat * US)
            reached.append(
                torch.ones_like(flat, dtype=torch.bool)
                if columns is None
                else (columns.status != Status.BUDGET_SPENT).flatten()[::step]
                & (columns.status != Status.STUCK).flatten()[::step]
            )
    return torch.cat(targets), torch.cat(achieved), torch.cat(reached)


def _scatter(axis: Axes, chip: ProgrammedChip) -> None:
    target, achieved, reached = _flat(chip)
    device = chip.deployment.spec.device
    # Targets are few: points beside each other within half a state show how many there are.
    spacing = (device.g_range_S / max((device.n_states or 256) - 1, 1)) * US
    places = target.numpy() + np.random.default_rng(0).uniform(-0.3, 0.3, len(target)) * spacing
    for which, colour, label, size in (
        (reached, BLUE, "reached", 2),
        (~reached, VERMILION, "not reached, or stuck", 5),
    ):
        some = which.numpy()
        if some.any():
            axis.scatter(places[some], achieved.numpy()[some], s=size, color=colour, alpha=0.35, linewidths=0,
                         label=label, rasterized=True)  # fmt: skip
    ends = [device.g_min_S * US, device.g_max_S * US]
    axis.plot(ends, ends, color=INK, linewidth=0.8)
    axis.set_title("achieved against target", fontsize=10, color=INK, loc="left")
    axis.set_xlabel("target, µS", fontsize=9, color=INK)
    axis.set_ylabel("achieved, µS", fontsize=9, color=INK)
    axis.grid(color=LINE, linewidth=0.5)
    axis.set_axisbelow(True)
    if not bool(reached.all()):
        legend = axis.legend(fontsize=8, frameon=False, loc="upper left", markerscale=3)
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_alpha(1.0)


def _pulses(axis: Axes, chip: ProgrammedChip) -> None:
    counts = torch.cat(
        [
            columns.pulses.flatten()
            for layer in chip.layers.values()
            for columns in (layer.pos_pulses, layer.neg_pulses)
            if columns is not None
        ]
    )
    most = int(counts.max())
    heights = torch.bincount(counts, minlength=most + 1).double() / len(counts) * 100
    if most <= 100:
        axis.bar(range(most + 1), heights.numpy(), width=0.9, color=BLUE)
    else:
        edges = np.linspace(0, most + 1, 61)
        sums, _ = np.histogram(np.arange(most + 1), bins=edges, weights=heights.numpy())
        axis.bar(edges[:-1], sums, width=np.diff(edges) * 0.9, align="edge", color=BLUE)
    axis.set_yscale("log")
    axis.set_title("pulses that it took", fontsize=10, color=INK, loc="left")
    axis.set_xlabel("pulses for a device", fontsize=9, color=INK)
    axis.set_ylabel("devices, %", fontsize=9, color=INK)
    axis.grid(axis="y", color=LINE, linewidth=0.5)
    axis.set_axisbelow(True)


def _errors(axis: Axes, chip: ProgrammedChip) -> None:
    target, achieved, _ = _flat(chip)
    axis.hist((achieved - target).numpy(), bins=61, color=BLUE)
    axis.set_yticks([])
    axis.set_title("errors", fontsize=10, color=INK, loc="left")
    axis.set_xlabel("achieved minus target, µS", fontsize=9, color=INK)


def _map(axis: Axes, chip: ProgrammedChip) -> None:
    from matplotlib.colors import ListedColormap

    name = max(chip.layers, key=lambda layer: chip.layers[layer].g_pos_S[0].numel())
    tile = chip.deployment.tiles(name)[0]
    layer, target = chip.layers[name], chip.deployment.layers[name]
    title = f"layer {name}, first tile, G+, chip of seed {chip.seeds[0]}"
    if layer.pos_pulses is None:
        error = (layer.g_pos_S[0][tile.index] - target.g_pos_S[tile.index]).double().numpy() * US
        limit = float(np.abs(error).max()) or 1.0
        axis.imshow(error, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
        title = f"errors within ±{limit:.3g} µS: {title}"
    else:
        # 0: reached, 1: budget spent, 2: stuck; what nobody read counts as reached.
        status = layer.pos_pulses.status[0][tile.index].clone()
        status[status == Status.NOT_READ] = Status.ACCEPTED
        colours = ListedColormap(["#e9eff4", VERMILION, INK])
        axis.imshow(status.numpy(), cmap=colours, vmin=0, vmax=2, aspect="auto", interpolation="nearest")
        failed, stuck = int((status == Status.BUDGET_SPENT).sum()), int((status == Status.STUCK).sum())
        axis.text(0.0, -0.16, f"{failed:,} not reached (orange), {stuck:,} stuck (black)", transform=axis.transAxes,
                  fontsize=8, color=GREY, va="top")  # fmt: skip
    axis.set_title(title, fontsize=9 if layer.pos_pulses is None else 10, color=INK, loc="left")
    axis.set_ylabel("word line", fontsize=9, color=INK)
    axis.set_xlabel("bit line", fontsize=9, color=INK, loc="right")
