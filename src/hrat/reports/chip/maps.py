"""Conductances of a chip as text that a page holds: one block for each tile, unpacked when it is looked at.

A block is base64 of zlib of four planes of a byte for each cell, row by row: targets of `G+` and `G-`, then errors of
`G+` and `G-`. A target is an index into the layer's list of states, exact, or, where there are more than 256 different
ones, one of 256 steps over their range. An error is `sign(c) (c / 127)^2 e_max`, which is within 0.8 % of the layer's
largest error and much nearer for small ones.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hrat.artifacts import ProgrammedChip
from hrat.encoding import Readout

__all__ = ["LayerMap", "TileBlock", "layer_maps"]

CODES = 256
ERROR_TOP = 127


@dataclass(frozen=True)
class TileBlock:
    """One tile."""

    name: str
    identity: str
    """Identity of the page's element that holds it."""
    rows: int
    cols: int
    first_row: int
    first_col: int
    group: int
    rms_S: float
    """Root mean square error of its devices."""
    text: str | None
    """The block; None where the page leaves it out."""


@dataclass(frozen=True)
class LayerMap:
    """Data from which a page draws a layer."""

    name: str
    levels_S: list[float]
    """Conductances that the codes of the targets stand for, S."""
    exact: bool
    """Whether these are the targets themselves."""
    e_max_S: float
    tiles: list[TileBlock]

    def meta(self) -> dict[str, Any]:
        """All but the blocks, as JSON data."""
        return {
            "name": self.name,
            "levels": self.levels_S,
            "exact": self.exact,
            "eMax": self.e_max_S,
            "tiles": [
                {
                    "name": tile.name,
                    "id": tile.identity if tile.text is not None else None,
                    "rows": tile.rows,
                    "cols": tile.cols,
                    "row0": tile.first_row,
                    "col0": tile.first_col,
                    "group": tile.group,
                    "rms": tile.rms_S,
                }
                for tile in self.tiles
            ],
        }


def layer_maps(chip: ProgrammedChip, max_tiles: int) -> Iterator[LayerMap]:
    """The layers of the first chip, with blocks for at most `max_tiles` tiles, shared out over the layers.

    Args:
        chip: one or several chips.
        max_tiles: most tiles whose conductances the page holds; each layer keeps its first ones.
    """
    counts = {name: len(chip.deployment.tiles(name)) for name in chip.layers}
    keep = _shared(counts, max_tiles)
    for number, name in enumerate(chip.layers):
        yield _layer(chip, name, number, keep[name])


def _shared(counts: dict[str, int], most: int) -> dict[str, int]:
    """Blocks for each layer: as many as it wants, and where that is too much, equally many for each that wants more."""
    if sum(counts.values()) <= most:
        return counts
    left, keep = most, {}
    for rank, name in enumerate(sorted(counts, key=lambda name: counts[name])):
        keep[name] = min(counts[name], left // (len(counts) - rank))
        left -= keep[name]
    return keep


def _layer(chip: ProgrammedChip, name: str, number: int, keep: int) -> LayerMap:
    target, programmed = chip.deployment.layers[name], chip.layers[name]
    readout, cols = Readout.of(chip.deployment.spec), target.array_shape[2]
    targets_S = [target.g_pos_S.double(), readout.for_each_weight(target.g_neg_S, cols).double()]
    achieved_S = programmed.g_pos_S[0], readout.for_each_weight(programmed.g_neg_S[0], cols)
    errors_S = [achieved.double() - wanted for achieved, wanted in zip(achieved_S, targets_S, strict=True)]
    e_max_S = max(float(error.abs().max()) for error in errors_S)
    levels_S, exact, codes = _codes(targets_S)
    error_codes = [_error_codes(error, e_max_S) for error in errors_S]
    tiles = []
    for place, tile in enumerate(chip.deployment.tiles(name)):
        planes = [plane[tile.index] for plane in (*codes, *error_codes)]
        square = torch.stack([error[tile.index] for error in errors_S]).square().mean()
        raw = b"".join(np.ascontiguousarray(plane.numpy()).tobytes() for plane in planes)
        tiles.append(
            TileBlock(
                name=tile.name,
                identity=f"tile-{number}-{place}",
                rows=planes[0].shape[0],
                cols=planes[0].shape[1],
                first_row=tile.rows.start,
                first_col=tile.cols.start,
                group=tile.group,
                rms_S=math.sqrt(float(square)),
                text=base64.b64encode(zlib.compress(raw, 6)).decode() if place < keep else None,
            )
        )
    return LayerMap(name, levels_S, exact, e_max_S, tiles)


def _codes(targets_S: list[Tensor]) -> tuple[list[float], bool, list[Tensor]]:
    """Conductances of the codes, whether they are exact, and the codes."""
    states = torch.unique(torch.cat([target.flatten() for target in targets_S]))
    exact = len(states) <= CODES
    if not exact:
        states = torch.linspace(float(states[0]), float(states[-1]), CODES, dtype=torch.float64)
    borders = (states[1:] + states[:-1]) / 2
    return states.tolist(), exact, [torch.bucketize(target, borders).to(torch.uint8) for target in targets_S]


def _error_codes(error_S: Tensor, e_max_S: float) -> Tensor:
    if e_max_S == 0:
        return torch.zeros(error_S.shape, dtype=torch.int8)
    part = error_S / e_max_S
    return (part.sign() * part.abs().sqrt() * ERROR_TOP).round().to(torch.int8)
