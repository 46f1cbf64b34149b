"""Chips that a lab has programmed and read: tables of measured conductances as `ProgrammedChip`."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch
from torch import Tensor

from hrat.artifacts.chip import ProgrammedChip, ProgrammedLayer
from hrat.artifacts.deployment import Deployment
from hrat.encoding import Readout, Tile
from hrat.errors import ArtifactError
from hrat.files import path_within
from hrat.seeds import check_seed
from hrat.tables import csv_records

__all__ = ["SCHEME", "import_csv"]

SCHEME = "measured"
COLUMNS = ("chip", "group", "tile", "row", "col", "g_pos_S", "g_neg_S")


def import_csv(deployment: Deployment, folder: str | os.PathLike[str]) -> ProgrammedChip:
    """Read the measured conductances of real chips from tables like those that `export_csv` writes.

    Each layer has `conductances/<layer>.csv` with the columns chip, group, tile, row, col, g_pos_S, g_neg_S; others are
    passed over. `chip` is a whole number, the same in all tables; it becomes the chip's seed. Every device of every
    chip has one line, in any order.

    Args:
        deployment: the targets that were to be programmed, with the layout of layers on tiles.
        folder: the folder that holds the folder `conductances`.

    Raises:
        FileNotFoundError: a layer has no table.
        HratError: the name of a layer cannot be that of a file.
        ArtifactError: a file that is no CSV in UTF-8; a column that is missing; a line that is no reading of an
            existing device; a device that is missing or occurs twice; conductances that are negative, not finite, or a
            thousand times off, as with a wrong unit.
    """
    root = Path(folder)
    paths = {name: path_within(root, "conductances", name, suffix=".csv") for name in deployment.layers}
    chips_by_layer = {name: _read(deployment, name, path) for name, path in paths.items()}
    first = next(iter(chips_by_layer))
    chips = sorted(chips_by_layer[first])
    for name, of_layer in chips_by_layer.items():
        if sorted(of_layer) != chips:
            raise ArtifactError(
                f"layer '{name}' has the chips {_list(sorted(of_layer))}, layer '{first}' {_list(chips)}; expected the "
                "same ones in all tables"
            )
    layers = {
        name: ProgrammedLayer(
            g_pos_S=torch.stack([of_layer[chip][0] for chip in chips]),
            g_neg_S=_negatives(deployment, name, torch.stack([of_layer[chip][1] for chip in chips])),
        )
        for name, of_layer in chips_by_layer.items()
    }
    return ProgrammedChip(deployment=deployment, layers=layers, seeds=tuple(chips), scheme=SCHEME)


def _negatives(deployment: Deployment, name: str, of_weights_S: Tensor) -> Tensor:
    """The negative partners, one number for each device."""
    readout = Readout.of(deployment.spec)
    devices_S = readout.once_for_each_device(of_weights_S)
    if not torch.equal(readout.for_each_weight(devices_S, of_weights_S.shape[-1]), of_weights_S):
        raise ArtifactError(
            f"layer '{name}': lines of one word line and tile differ in g_neg_S, which is one device there (periphery."
            f"readout is '{deployment.spec.periphery.readout}'); expected the same conductance in all of them"
        )
    return devices_S


def _read(deployment: Deployment, name: str, path: Path) -> dict[int, tuple[Tensor, Tensor]]:
    """`(G+, G-)` of a layer by chip."""
    if not path.is_file():
        raise FileNotFoundError(f"no table at {path}; expected one for each layer: {', '.join(deployment.layers)}")
    like = deployment.layers[name].g_pos_S
    places = {(tile.group, f"tile{tile.grid_row}_{tile.grid_col}"): tile for tile in deployment.tiles(name)}
    pairs_by_chip: dict[int, tuple[Tensor, Tensor]] = {}
    lists: dict[int, tuple[list[int], list[float], list[float]]] = {}
    for where, (chip, group, tile, row, col, pos_S, neg_S) in csv_records(path, COLUMNS):
        try:
            at = _place(places, (int(group), tile, int(row), int(col)), like, where)
            of_chip = lists.setdefault(check_seed(int(chip), "chip"), ([], [], []))
            of_chip[0].append(at)
            of_chip[1].append(float(pos_S))
            of_chip[2].append(float(neg_S))
        except ArtifactError:
            raise
        except ValueError as error:
            raise ArtifactError(
                f"{where}: expected whole numbers for chip, group, row and col, and conductances in S ({error})"
            ) from error
    if not lists:
        raise ArtifactError(f"{path} has no readings")
    for number, (at_list, pos_list, neg_list) in lists.items():
        pairs_by_chip[number] = _arrays(at_list, pos_list, neg_list, like, f"{path}, chip {number}")
    return pairs_by_chip


def _place(places: dict[tuple[int, str], Tile], at: tuple[int, str, int, int], like: Tensor, where: str) -> int:
    """Index of a pair among all of its layer, in the order of its array."""
    group, name, row, col = at
    tile = places.get((group, name))
    rows, cols = (0, 0) if tile is None else (tile.rows.stop - tile.rows.start, tile.cols.stop - tile.cols.start)
    if tile is None or not (0 <= row < rows and 0 <= col < cols):
        raise ArtifactError(f"{where}: the layer has no pair at group {group}, {name}, row {row}, col {col}")
    _, n_rows, n_cols = like.shape
    return int((group * n_rows + tile.rows.start + row) * n_cols + tile.cols.start + col)


def _arrays(at: list[int], pos: list[float], neg: list[float], like: Tensor, where: str) -> tuple[Tensor, Tensor]:
    index = torch.tensor(at)
    count = torch.bincount(index, minlength=like.numel())
    if bool((count != 1).any()):
        wrong = int((count != 1).nonzero()[0, 0])
        _, n_rows, n_cols = like.shape
        group, rest = divmod(wrong, n_rows * n_cols)
        what = "is missing" if int(count[wrong]) == 0 else f"is there {int(count[wrong])} times"
        raise ArtifactError(
            f"{where}: the pair of group {group}, word line {rest // n_cols}, bit line {rest % n_cols} {what} "
            f"({len(at):,} lines for {like.numel():,} pairs); expected one line for each"
        )
    arrays = []
    for column, values in (("g_pos_S", pos), ("g_neg_S", neg)):
        flat = torch.empty(like.numel(), dtype=torch.float64)
        flat[index] = torch.tensor(values, dtype=torch.float64)
        if not bool(torch.isfinite(flat).all()) or bool((flat < 0).any()):
            raise ArtifactError(f"{where}: {column} has values that are negative or not finite")
        arrays.append(flat.to(like.dtype).view(like.shape))
    _check_unit(torch.stack(arrays), like, where)
    return arrays[0], arrays[1]


def _check_unit(read_S: Tensor, like: Tensor, where: str) -> None:
    """Refuse microsiemens and kilohms: readings that lie a hundred times from what was asked for."""
    median_read_S, median_target_S = float(read_S.double().median()), float(like.double().median())
    if median_read_S > 0 and median_target_S > 0 and abs(math.log10(median_read_S / median_target_S)) > 2:
        raise ArtifactError(
            f"{where}: half of the readings are below {median_read_S:.3g} S, half of the targets below "
            f"{median_target_S:.3g} S; expected conductances in siemens (200 uS are 200e-6)"
        )


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:6])) + (" ..." if len(numbers) > 6 else "")
