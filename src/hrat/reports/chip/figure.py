"""A programmed chip as a picture: what its arrays should hold, what they hold, and by how much each layer misses."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from hrat.artifacts import ProgrammedChip
from hrat.encoding import Tile
from hrat.reports.drawing import BLUE, GREY, INK, LINE, US, figure_format, new_figure, save_figure
from hrat.reports.words import count, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["chip_figure"]

MAX_TILES, MAX_LAYERS = 3, 8
WIDTH_IN, HEAD_IN, FOOT_IN = 11.0, 1.3, 0.65
TILE_IN, LAYER_IN = 2.4, 1.05


def chip_figure(chip: ProgrammedChip, path: str | os.PathLike[str]) -> Path:
    """Draw the first tile of some layers, target beside achieved, and the errors of each layer over all chips.

    Args:
        chip: one or several chips; the maps are those of the first one.
        path: a `.png`, `.svg` or `.pdf` file.

    Raises:
        HratError: the suffix stands for no picture.
        OSError: the folder cannot be written or the disk is full.
    """
    figure_format(path)
    layer_names = _spread_out(list(chip.layers), MAX_LAYERS)
    mapped = _spread_out(list(chip.layers), MAX_TILES)
    body_in = max(TILE_IN * len(mapped), LAYER_IN * len(layer_names), TILE_IN)
    height_in = HEAD_IN + body_in + FOOT_IN
    figure = new_figure(WIDTH_IN, height_in)
    _head(figure, chip, len(layer_names), height_in)
    bottom, top = FOOT_IN / height_in, 1 - HEAD_IN / height_in
    maps = figure.add_gridspec(len(mapped), 3, left=0.075, right=0.55, bottom=bottom, top=top, wspace=0.1, hspace=0.4,
                               width_ratios=[1, 1, 0.06])  # fmt: skip
    for row, name in enumerate(mapped):
        axes = [figure.add_subplot(maps[row, column]) for column in range(3)]
        _maps(figure, axes, chip, name, last=row == len(mapped) - 1)
    strips = figure.add_gridspec(len(layer_names), 1, left=0.65, right=0.98, bottom=bottom, top=top, hspace=0.45)
    limit_uS = max(_sample(_errors_uS(chip, name)).abs().quantile(0.999).item() for name in layer_names) or 1.0
    for row, name in enumerate(layer_names):
        _histogram(figure.add_subplot(strips[row, 0]), chip, name, limit_uS, last=row == len(layer_names) - 1)
    return save_figure(figure, path)


def _spread_out(names: list[str], most: int) -> list[str]:
    """At most `most` of the names, evenly from the first to the last."""
    if len(names) <= most:
        return names
    return [names[round(k * (len(names) - 1) / (most - 1))] for k in range(most)]


def _errors_uS(chip: ProgrammedChip, name: str) -> torch.Tensor:
    return torch.cat([part.flatten() for part in chip.errors_S(name)]).double() * US


def _sample(errors: torch.Tensor) -> torch.Tensor:
    """A part of a large layer's errors, which looks like all: torch.quantile refuses more than 16 million values."""
    return errors[:: math.ceil(errors.numel() / 1_000_000)]


def _head(figure: Figure, chip: ProgrammedChip, n_shown: int, height_in: float) -> None:
    deployment = chip.deployment
    device = deployment.spec.device
    states = f"{device.n_states} states" if device.n_states else "continuous"
    layers = count(len(chip.layers), "layer")
    some = "" if n_shown == len(chip.layers) else f", {n_shown} of them shown"
    lines = [
        f"{deployment.spec.name}: {device.g_min_S * US:g} to {device.g_max_S * US:g} µS, {states}; {layers}{some}, "
        f"{count(deployment.n_tiles, 'tile')}, {count(deployment.n_devices, 'device')} a chip",
        f"Left: positive devices of each layer's first tile, chip of seed {chip.seeds[0]}. Right: errors of "
        f"all devices, {count(chip.n_chips, 'chip')}.",
    ]
    title = "What the chip holds, beside what it should hold"
    figure.text(0.02, 1 - 0.15 / height_in, title, fontsize=14, fontweight="bold", color=INK, va="top")
    for number, line in enumerate(lines):
        figure.text(0.02, 1 - (0.47 + 0.21 * number) / height_in, line, fontsize=9.5, color=GREY, va="top")


def _maps(figure: Figure, axes: list[Axes], chip: ProgrammedChip, name: str, *, last: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    target = chip.deployment.layers[name]
    tile: Tile = chip.deployment.tiles(name)[0]
    device = chip.deployment.spec.device
    parts = [target.g_pos_S[tile.index], chip.layers[name].g_pos_S[0][tile.index]]
    # Errors may leave the window: colours end at the window, and the bar says so by its pointed ends.
    for axis, part, title in zip(axes, parts, ("target", "achieved"), strict=False):
        image = axis.imshow(part.double().numpy() * US, cmap="viridis", vmin=device.g_min_S * US,
                            vmax=device.g_max_S * US, aspect="auto", interpolation="nearest")  # fmt: skip
        axis.set_title(f"layer {name}, {title}", fontsize=9, color=INK, loc="left")
        for scale in (axis.xaxis, axis.yaxis):
            scale.set_major_locator(MaxNLocator(6, integer=True))
        if last:
            axis.set_xlabel("bit line", fontsize=9, color=INK)
        axis.tick_params(labelsize=8, length=2, colors=INK)
    axes[0].set_ylabel("word line", fontsize=9, color=INK)
    axes[1].set_yticklabels([])
    bar = figure.colorbar(image, cax=axes[2], extend="both")
    bar.ax.set_title("µS", fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8, colors=INK)


def _histogram(axis: Axes, chip: ProgrammedChip, name: str, limit_uS: float, *, last: bool) -> None:
    errors = _errors_uS(chip, name)
    # hist wants a plain array; what lies further out than 999 of 1000 devices is put into the last bins.
    axis.hist(
        _sample(errors).clamp(-limit_uS, limit_uS).numpy(), bins=61, range=(-limit_uS, limit_uS), color=BLUE, alpha=0.8
    )
    rms_uS = float(errors.square().mean().sqrt())
    share = rms_uS / (chip.deployment.spec.device.g_range_S * US)
    text = f"layer {name}: rms {rms_uS:.2f} µS, {percent(share, 1)} of the window"
    axis.set_title(text, fontsize=9, color=INK, loc="left")
    axis.set_xlim(-limit_uS, limit_uS)
    axis.axvline(0.0, color=INK, linewidth=0.8)
    axis.set_yticks([])
    axis.tick_params(labelsize=8, length=2, colors=INK, labelbottom=last)
    axis.grid(axis="x", color=LINE, linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "left", "right"):
        axis.spines[side].set_visible(False)
    if last:
        axis.set_xlabel("achieved minus target, µS", fontsize=9, color=INK)
