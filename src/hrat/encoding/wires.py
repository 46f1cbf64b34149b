"""The wires of a layer: its pairs laid out on tiles as on the chip, and their effective conductances.

A tile of `array.rows x array.cols` pairs is a grid of wires with twice as many devices; which lies where, the read-out
says (`hrat.encoding.readouts`). Tiles have drivers of their own. Where tiles stand above one another, their bit lines
end at the same virtual ground, so that the tiles of a layer do not disturb each other. A tile that is filled in part
has wires for what it holds.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hrat.encoding.readouts import Readout
from hrat.physics import attenuated
from hrat.spec import Array, HardwareSpec

__all__ = ["Effective", "effective_pair"]

Effective = Callable[[Tensor, Array], Tensor]
"""Conductances `(..., rows, cols)` of the devices on a tile's wires, S -> effective ones of the same shape, S."""


def effective_pair(
    g_pos_S: Tensor, g_neg_S: Tensor, spec: HardwareSpec, effective: Effective = attenuated
) -> tuple[Tensor, Tensor]:
    """Effective conductances of a layer's devices, as seen through the wires of its tiles, in siemens.

    Args:
        g_pos_S: conductances of the positive partners, `(..., groups, rows, cols)`, S.
        g_neg_S: of the negative partners, `(..., groups, rows, columns)` as `Readout.count_negatives` has them.
        spec: names the tiles, the wires and the read-out. With `array.limit_wires` off nothing is done.
        effective: solver of one tile: the approximation that training uses, or an exact one.

    Returns:
        Effective conductances of both partners, the shape of what was given, S: `I_j = sum_k (M+_kj - M-_kj) v_k`.
    """
    array = spec.array
    if not array.limit_wires:
        return g_pos_S, g_neg_S
    readout = Readout.of(spec)
    bands = []
    for rows in _parts(g_pos_S.shape[-2], array.rows):
        areas = []
        for cols in _parts(g_pos_S.shape[-1], array.cols):
            width = min(cols.stop - cols.start, array.cols)
            shared = slice(readout.count_negatives(cols.start), readout.count_negatives(cols.stop))
            pos_tiles = _cut(g_pos_S[..., rows, cols], array.rows, width)
            neg_tiles = _cut(g_neg_S[..., rows, shared], array.rows, readout.count_negatives(width))
            seen = effective(readout.to_grid(pos_tiles, neg_tiles), array)
            areas.append([_joined(tiles) for tiles in readout.from_grid(seen)])
        bands.append([torch.cat(of_partner, -1) for of_partner in zip(*areas, strict=True)])
    pos, neg = (torch.cat(of_partner, -2) for of_partner in zip(*bands, strict=True))
    return pos, neg


def _parts(n: int, size: int) -> list[slice]:
    """The part that whole tiles fill, and what is left: each is a batch of tiles of one shape."""
    whole = n // size * size
    return [part for part in (slice(0, whole), slice(whole, n)) if part.start < part.stop]


def _cut(g_S: Tensor, rows: int, cols: int) -> Tensor:
    """`(..., rows, cols)` -> `(..., grid rows, grid cols, rows of a tile, cols of a tile)`."""
    rows = min(g_S.shape[-2], rows)
    tiles: Tensor = g_S.unflatten(-1, (-1, cols)).unflatten(-3, (-1, rows)).transpose(-3, -2)
    return tiles


def _joined(tiles: Tensor) -> Tensor:
    """The inverse of `_cut`."""
    grid: Tensor = tiles.transpose(-3, -2).flatten(-4, -3).flatten(-2)
    return grid
