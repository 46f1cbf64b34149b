"""A layer's matrix cut into tiles of the array's size.

A layer is a stack of `groups` matrices of shape `(rows, cols)`: rows are inputs (word lines), columns are outputs (bit
lines); an ordinary layer has one group, a grouped convolution one matrix for each group. A cell of a tile is a
differential pair.
"""

from __future__ import annotations

from dataclasses import dataclass

from hrat.spec import Array

__all__ = ["Tile", "tile_grid"]


@dataclass(frozen=True)
class Tile:
    """One array: the part of a layer's matrix that it holds, and its place in the grid of tiles."""

    group: int
    """Which of the layer's matrices."""
    grid_row: int
    grid_col: int
    rows: slice
    """Word lines of the layer's matrix that this tile holds."""
    cols: slice
    """Bit lines of the layer's matrix that this tile holds."""

    @property
    def name(self) -> str:
        """Name of the tile, such as `tile0_2`, or `group3.tile0_2` in a grouped layer's later groups."""
        prefix = f"group{self.group}." if self.group else ""
        return f"{prefix}tile{self.grid_row}_{self.grid_col}"

    @property
    def index(self) -> tuple[int, slice, slice]:
        """Index into an array of shape `(groups, rows, cols)`."""
        return self.group, self.rows, self.cols


def tile_grid(shape: tuple[int, int, int], array: Array) -> list[Tile]:
    """The tiles of a layer of shape `(groups, rows, cols)`, in the order group, grid row, grid column.

    The last tile of a row or column may be filled in part only.
    """
    groups, n_rows, n_cols = shape
    return [
        Tile(
            group,
            row // array.rows,
            col // array.cols,
            slice(row, min(row + array.rows, n_rows)),
            slice(col, min(col + array.cols, n_cols)),
        )
        for group in range(groups)
        for row in range(0, n_rows, array.rows)
        for col in range(0, n_cols, array.cols)
    ]
