"""A layer on its tiles: effective conductances of its devices at the amplifiers.

A pair of the layer's matrix is two devices of one physical grid, as its read-out lays them out
(`hrat.encoding.Readout.to_grid`).

Each tile has drivers of its own, and the bit lines of tiles above one another end at the same virtual ground, which
keeps them apart: currents add up, and each tile is solved by itself. A tile that is filled in part is a smaller grid,
whose lines end with its last devices.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from hrat.artifacts import ProgrammedChip
from hrat.encoding import Readout, Tile
from hrat.errors import HratError
from hrat.simulation.nodal.effective import effective_conductance
from hrat.simulation.nodal.wires import Wires
from hrat.simulation.solvers import SolverError

__all__ = ["layer_conductances"]

DEVICES_AT_ONCE = 2**19
"""Devices that are solved together: enough to be quick, and a few hundred megabytes."""


def layer_conductances(
    chip: ProgrammedChip, layer: str, *, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Effective `(G+, G-)` for `V_out = R_f (G+ - G-)^T v + V_bias` when wires lose voltage.

    Args:
        chip: one or several chips.
        layer: name of the layer.
        device: where to compute.

    Returns:
        Two tensors `(chips, groups, rows, cols)`, S, float64: the conductances themselves where the restriction
        `wires` is off.

    Raises:
        HratError: the chip has no such layer.
        SolverError: a tile whose resistances float64 cannot tell apart.
    """
    if layer not in chip.layers:
        raise HratError(f"the chip has no layer {layer!r}; it has {', '.join(chip.layers)}")
    spec, programmed = chip.deployment.spec, chip.layers[layer]
    wires = Wires.of(spec.array)
    pos_S, neg_S = (g_S.to(device, torch.float64) for g_S in (programmed.g_pos_S, programmed.g_neg_S))
    if wires.is_ideal:
        return pos_S.clone(), neg_S.clone()
    readout = Readout.of(spec)
    eff_pos_S, eff_neg_S = torch.empty_like(pos_S), torch.empty_like(neg_S)
    for chips, tiles in _portions(chip.deployment.tiles(layer), chip.n_chips):
        tiles_pos_S = torch.stack([pos_S[chips, *tile.index] for tile in tiles])
        tiles_neg_S = torch.stack([neg_S[chips, *readout.negatives_of(tile)] for tile in tiles])
        try:
            eff_S = effective_conductance(readout.to_grid(tiles_pos_S, tiles_neg_S), wires)
        except SolverError as error:
            raise SolverError(f"layer {layer}: {error}") from error
        for tile, eff_tile_S in zip(tiles, eff_S, strict=True):
            pos_at, neg_at = (chips, *tile.index), (chips, *readout.negatives_of(tile))
            eff_pos_S[pos_at], eff_neg_S[neg_at] = readout.from_grid(eff_tile_S)
    return eff_pos_S, eff_neg_S


def _portions(tiles: list[Tile], n_chips: int) -> Iterator[tuple[slice, list[Tile]]]:
    """Tiles of equal shape and chips that are solved together."""
    by_size: dict[tuple[int, int], list[Tile]] = {}
    for tile in tiles:
        size = (tile.rows.stop - tile.rows.start, tile.cols.stop - tile.cols.start)
        by_size.setdefault(size, []).append(tile)
    for (rows, cols), alike in by_size.items():
        count = max(1, DEVICES_AT_ONCE // (2 * rows * cols))
        for start in range(0, len(alike), count):
            some = alike[start : start + count]
            step = max(1, count // len(some))
            for chip in range(0, n_chips, step):
                yield slice(chip, chip + step), some
