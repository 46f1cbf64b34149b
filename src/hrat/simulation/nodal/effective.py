"""Effective conductances of a tile between its sources and sense ends.

A tile of ohmic devices is linear, whatever its wires: `I = M^T v`, with `M` of the shape of the conductances. `M`
stands in for them, and inference through wires costs what it costs without.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hrat.errors import HratError
from hrat.simulation.nodal.grid import edge_of
from hrat.simulation.nodal.wires import Wires

__all__ = ["as_tiles", "effective_conductance", "seen_from_ends"]


def effective_conductance(
    g_S: Tensor, wires: Wires, *, open_word_lines: Sequence[int] = (), open_bit_lines: Sequence[int] = ()
) -> Tensor:
    """Effective conductance: current at each sense end per volt of each source.

    Exact in float64, whatever dtype comes in; differentiable with respect to `g_S`.

    Args:
        g_S: conductances, `(..., rows, cols)`, S.
        wires: those of every tile.
        open_word_lines: lines that are broken between driver and first device (and behind the last one, if they are
            driven there too): they float, and their sources drive nothing.
        open_bit_lines: lines that are broken between last device and amplifier: nothing flows out of them.

    Returns:
        `(..., rows, cols)`, S, float64; `g_S` itself in float64 where the wires are ideal and no line is broken.

    Raises:
        HratError: conductances that are negative or not finite, or a line that the tile does not have.
        SolverError: resistances that float64 cannot tell apart.
    """
    tiles_S = as_tiles(g_S)
    words, bits = _lines(open_word_lines, g_S.shape[-2], "word"), _lines(open_bit_lines, g_S.shape[-1], "bit")
    if wires.is_ideal and not words and not bits:
        return g_S.to(torch.float64, copy=True)
    edge = edge_of(tiles_S, wires, undriven=words)
    output_S = edge.with_open_lines(words, bits) if words or bits else edge.output_S
    return output_S.mT.reshape(g_S.shape)


def seen_from_ends(g_S: Tensor, wires: Wires) -> tuple[Tensor, Tensor]:
    """Effective conductances, and what a voltage at a sense end does, in place of virtual ground.

    Args:
        g_S: conductances, `(..., rows, cols)`, S.
        wires: those of every tile.

    Returns:
        `effective_conductance`, `(..., rows, cols)`; and the current out of each sense end by the voltage at each,
        `(..., cols, cols)`, symmetric, its diagonal positive and all else negative or zero; both S, float64.

    Raises:
        HratError: conductances that are negative or not finite.
        SolverError: resistances that float64 cannot tell apart.
    """
    tiles_S = as_tiles(g_S)
    if wires.is_ideal:
        return g_S.to(torch.float64, copy=True), torch.diag_embed(g_S.to(torch.float64).sum(-2))
    edge = edge_of(tiles_S, wires)
    cols = g_S.shape[-1]
    return edge.output_S.mT.reshape(g_S.shape), -edge.ground_S.reshape(*g_S.shape[:-2], cols, cols)


def as_tiles(g_S: Tensor) -> Tensor:
    """Conductances `(..., rows, cols)` checked, in float64, and with one leading dimension."""
    if g_S.ndim < 2 or 0 in g_S.shape:
        raise HratError(
            f"expected conductances of shape (..., rows, cols) with at least one device, got {tuple(g_S.shape)}"
        )
    if not bool(torch.isfinite(g_S).all()) or bool((g_S < 0).any()):
        raise HratError("expected conductances of zero or more siemens, got some that are negative or not finite")
    return g_S.to(torch.float64).reshape(-1, *g_S.shape[-2:])


def _lines(chosen: Sequence[int], count: int, kind: str) -> list[int]:
    for line in chosen:
        if not 0 <= line < count:
            raise HratError(f"open_{kind}_lines: expected lines from 0 to {count - 1}, got {line}")
    return sorted(set(chosen))
