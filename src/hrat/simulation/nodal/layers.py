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

from hrat.artifacts import DeployedLayer, ProgrammedChip
from hrat.encoding import LayerReadout, Tile
from hrat.errors import HratError
from hrat.simulation.nodal.effective import effective_conductance, seen_from_ends
from hrat.simulation.nodal.wires import Wires
from hrat.simulation.solvers import SolverError

__all__ = ["layer_conductances", "layer_from_ends"]

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
    g_pos_S, g_neg_S, _ = layer_from_ends(chip, layer, device=device, grounds=False)
    return g_pos_S, g_neg_S


def layer_from_ends(
    chip: ProgrammedChip, layer: str, *, device: torch.device | str = "cpu", grounds: bool = True
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Effective `(G+, G-)`, and what a voltage at the input of an amplifier does.

    Args:
        chip: one or several chips.
        layer: name of the layer.
        device: where to compute.
        grounds: False to leave the third result out.

    Returns:
        `layer_conductances`, and the current out of each amplifier's input by the voltage at each, `(chips, sums,
        groups, amplifiers, amplifiers)`, S, as `hrat.encoding.errors_of_layer` takes it; None where wires are ideal.

    Raises:
        HratError: the chip has no such layer.
        SolverError: a tile whose resistances float64 cannot tell apart.
    """
    if layer not in chip.layers:
        raise HratError(f"the chip has no layer {layer!r}; it has {', '.join(chip.layers)}")
    spec, programmed, target = chip.deployment.spec, chip.layers[layer], chip.deployment.layers[layer]
    wires = Wires.of(spec.array)
    pos_S, neg_S = (g_S.to(device, torch.float64) for g_S in (programmed.g_pos_S, programmed.g_neg_S))
    if wires.is_ideal:
        return pos_S.clone(), neg_S.clone(), None
    readout = LayerReadout.of(target.geometry, spec)
    lines = readout.amplifiers
    eff_pos_S, eff_neg_S = torch.empty_like(pos_S), torch.empty_like(neg_S)
    groups, _, cols = target.geometry.matrix_shape
    count = sum(geometry.matrix_shape[2] for geometry in readout.term_geometries)
    ground_S = pos_S.new_zeros(chip.n_chips, readout.n_sums, groups, count, count) if grounds else None
    for chips, tiles in _portions(chip.deployment.tiles(layer), chip.n_chips):
        tiles_pos_S = torch.stack([pos_S[chips, *tile.index] for tile in tiles])
        tiles_neg_S = torch.stack([neg_S[chips, *lines.negatives_of(tile)] for tile in tiles])
        grid_S = lines.to_grid(tiles_pos_S, tiles_neg_S)
        try:
            if ground_S is None:
                eff_S = effective_conductance(grid_S, wires)
            else:
                eff_S, at_ends_S = seen_from_ends(grid_S, wires)
        except SolverError as error:
            raise SolverError(f"layer {layer}: {error}") from error
        for k, tile in enumerate(tiles):
            pos_at, neg_at = (chips, *tile.index), (chips, *lines.negatives_of(tile))
            eff_pos_S[pos_at], eff_neg_S[neg_at] = lines.from_grid(eff_S[k])
            if ground_S is not None:
                _, bits = lines.grid_lines(tile)
                ends = [lines.bit_line(j, cols) for j in range(bits.start, bits.stop)]
                places = torch.tensor([(line + cols if inner else line) for line, inner in ends], device=grid_S.device)
                # Tiles above one another share amplifiers, unless each has ADCs of its own.
                of_sum = ground_S[chips, 0 if readout.tiles is None else tile.grid_row, tile.group]
                of_sum[:, places[:, None], places[None, :]] += at_ends_S[k]
    return eff_pos_S, eff_neg_S, None if ground_S is None else _in_order_of_outputs(ground_S, target, cols)


def _in_order_of_outputs(ground_S: Tensor, layer: DeployedLayer, cols: int) -> Tensor:
    """`ground_S` with the amplifiers in the order of the outputs that their bit lines yield."""
    if layer.col_outputs is None:
        return ground_S
    order = layer.col_outputs.argsort(-1).to(ground_S.device)  # (groups, cols)
    whole = torch.cat([order + first for first in range(0, ground_S.shape[-1], cols)], -1)
    by_row = ground_S.gather(-2, whole[None, None, :, :, None].expand_as(ground_S))
    return by_row.gather(-1, whole[None, None, :, None, :].expand_as(ground_S))


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
