"""FaultMap: which devices of one chip are stuck, and where."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hrat.artifacts.deployment import Deployment
from hrat.artifacts.storage import read_artifact, write_artifact
from hrat.encoding import Tile
from hrat.errors import ArtifactError
from hrat.files import write_atomic
from hrat.names import one_line
from hrat.tables import csv_records, csv_text, text_cell

__all__ = ["FaultMap", "LayerFaults"]

COLUMNS = ("layer", "group", "tile", "row", "col", "partner", "g_S")


@dataclass(frozen=True, kw_only=True)
class LayerFaults:
    """The stuck devices of one layer's arrays, each tensor `(groups, word lines, bit lines)`."""

    pos: Tensor
    """True where the positive partner is stuck."""
    pos_S: Tensor
    """Conductance at which it is stuck, S; 0 elsewhere."""
    neg: Tensor
    """True where the negative partner is stuck."""
    neg_S: Tensor
    """Conductance at which it is stuck, S; 0 elsewhere."""

    @property
    def count(self) -> int:
        """Stuck devices."""
        return int(self.pos.count_nonzero() + self.neg.count_nonzero())


@dataclass(frozen=True, kw_only=True)
class FaultMap:
    """The stuck devices of one chip, found before it is programmed. They belong to places on arrays, not to weights."""

    layers: dict[str, LayerFaults]

    KIND = "faults"

    @property
    def count(self) -> int:
        """Stuck devices of the chip."""
        return sum(layer.count for layer in self.layers.values())

    def check(self, deployment: Deployment) -> None:
        """Refuse a map of another chip.

        Raises:
            ArtifactError: a layer is missing, unknown, or of another shape.
        """
        if self.layers.keys() != deployment.layers.keys():
            raise ArtifactError(
                f"the fault map has the layers {', '.join(self.layers)}; expected those of the deployment, "
                f"{', '.join(deployment.layers)}"
            )
        for name, layer in self.layers.items():
            expected = deployment.layers[name].array_shape
            for key in ("pos", "pos_S", "neg", "neg_S"):
                if tuple(getattr(layer, key).shape) != expected:
                    raise ArtifactError(
                        f"fault map, layer '{name}': {key} has shape {tuple(getattr(layer, key).shape)}, expected "
                        f"{expected} (groups, word lines, bit lines): was it made for other copies or tiles?"
                    )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one file, whole or not at all.

        Raises:
            OSError: the folder cannot be written or the disk is full.
        """
        tensors = {
            f"{name}/{key}": getattr(layer, key)
            for name, layer in self.layers.items()
            for key in ("pos", "pos_S", "neg", "neg_S")
        }
        return write_artifact(path, self.KIND, {"layers": list(self.layers)}, tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FaultMap:
        """Read a file that `save` wrote.

        Raises:
            FileNotFoundError: nothing stands at `path`.
            ArtifactError: the file is damaged, foreign, or of another version.
        """
        content, tensors = read_artifact(path, cls.KIND)
        try:
            layers = {
                name: LayerFaults(**{key: tensors[f"{name}/{key}"] for key in ("pos", "pos_S", "neg", "neg_S")})
                for name in content["layers"]
            }
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"{path} lacks {error}; expected what FaultMap.save writes") from error
        for name, layer in layers.items():
            _check_layer(layer, f"{path}: layer '{one_line(str(name))}'")
        return cls(layers=layers)

    def to_csv(self, path: str | os.PathLike[str], deployment: Deployment) -> Path:
        """Write a table with a line for each stuck device: layer, group, tile, row, col, partner, g_S.

        `tile`, `row` and `col` are those of the tables of conductances; `partner` is pos or neg.
        """
        self.check(deployment)
        rows: list[tuple[Any, ...]] = []
        for name, layer in self.layers.items():
            for tile in deployment.tiles(name):
                for partner, stuck, g_S in (("pos", layer.pos, layer.pos_S), ("neg", layer.neg, layer.neg_S)):
                    part_S = g_S[tile.index]
                    rows += [
                        (name, tile.group, _name(tile), row, col, partner, float(part_S[row, col]))
                        for row, col in stuck[tile.index].nonzero().tolist()
                    ]
        return write_atomic(path, csv_text(COLUMNS, rows))

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str], deployment: Deployment) -> FaultMap:
        """Read a table as `to_csv` writes it, such as a lab makes of its test of a chip.

        Args:
            path: the table.
            deployment: what is to be programmed into the chip; says how its layers lie on tiles.

        Raises:
            FileNotFoundError: nothing stands at `path`.
            ArtifactError: it is no CSV in UTF-8, a column is missing, or a line names a device that is not there.
        """
        layers = {name: _no_faults(layer.g_pos_S) for name, layer in deployment.layers.items()}
        places = {
            name: {(tile.group, _name(tile)): tile for tile in deployment.tiles(name)} for name in deployment.layers
        }
        name_by_cell = {text_cell(name): name for name in layers}  # as tables have the names
        for where, (name, *cells) in csv_records(path, COLUMNS):
            _read(name_by_cell.get(name, name), dict(zip(COLUMNS[1:], cells, strict=True)), layers, places, where)
        return cls(layers=layers)

    def __str__(self) -> str:
        """Number of stuck devices by layer."""
        lines = [f"{self.count:,} stuck devices"]
        for name, layer in self.layers.items():
            both = int((layer.pos & layer.neg).count_nonzero())
            share = layer.count / max(2 * layer.pos.numel(), 1)
            lines.append(f"  {name:<16} {layer.count:>8,} ({share:.2%}), {both:,} pairs with both")
        return "\n".join(lines)

    __repr__ = __str__


def _check_layer(layer: LayerFaults, where: str) -> None:
    """Refuse what stands for no faults: another type or shape, or conductances that no device has."""
    shape = tuple(layer.pos.shape)
    for sign in ("pos", "neg"):
        stuck, g_S = getattr(layer, sign), getattr(layer, f"{sign}_S")
        if stuck.dtype != torch.bool or not g_S.dtype.is_floating_point:
            raise ArtifactError(
                f"{where}: expected {sign} of type bool and {sign}_S of a floating point type, got {stuck.dtype} and "
                f"{g_S.dtype}"
            )
        if len(shape) != 3 or tuple(stuck.shape) != shape or tuple(g_S.shape) != shape:
            raise ArtifactError(
                f"{where}: expected tensors of one shape (groups, word lines, bit lines), got {tuple(stuck.shape)} for "
                f"{sign} and {tuple(g_S.shape)} for {sign}_S beside {shape}"
            )
        if not bool(torch.isfinite(g_S).all()) or bool((g_S < 0).any()):
            raise ArtifactError(f"{where}: {sign}_S: expected finite conductances of 0 S or more")


def _no_faults(like: Tensor) -> LayerFaults:
    none = torch.zeros(like.shape, dtype=torch.bool)
    return LayerFaults(pos=none, pos_S=torch.zeros_like(like), neg=none.clone(), neg_S=torch.zeros_like(like))


def _name(tile: Tile) -> str:
    return f"tile{tile.grid_row}_{tile.grid_col}"


def _read(
    name: str,
    row: dict[str, str],
    layers: dict[str, LayerFaults],
    places: dict[str, dict[tuple[int, str], Tile]],
    where: str,
) -> None:
    """Put one line of a table into the map."""
    if name not in layers:
        raise ArtifactError(f"{where}: there is no layer {name!r}; expected one of {', '.join(layers)}")
    try:
        group, line, col, g_S = int(row["group"]), int(row["row"]), int(row["col"]), float(row["g_S"])
    except ValueError as error:
        raise ArtifactError(f"{where}: expected whole numbers and a conductance in S ({error})") from error
    tile = places[name].get((group, row["tile"]))
    rows, cols = (0, 0) if tile is None else (tile.rows.stop - tile.rows.start, tile.cols.stop - tile.cols.start)
    if tile is None or not (0 <= line < rows and 0 <= col < cols):
        raise ArtifactError(
            f"{where}: layer '{name}' has no device at group {group}, {row['tile']}, row {line}, col {col}"
            + ("" if tile is None else f"; the tile has {rows} x {cols} pairs")
        )
    if row["partner"] not in ("pos", "neg") or not 0 <= g_S < 1:
        raise ArtifactError(
            f"{where}: expected partner pos or neg, and a conductance of 0 S or more, got {row['partner']!r} and "
            f"{g_S!r} S"
        )
    place = (group, tile.rows.start + line, tile.cols.start + col)
    getattr(layers[name], row["partner"])[place] = True
    getattr(layers[name], f"{row['partner']}_S")[place] = g_S
