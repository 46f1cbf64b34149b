"""Tiles cover a layer's matrix exactly once."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from hrat.encoding import tile_grid
from hrat.spec import Array

sizes = st.integers(1, 40)


@given(groups=st.integers(1, 3), rows=sizes, cols=sizes, tile_rows=st.integers(1, 17), tile_cols=st.integers(1, 17))
def test_each_cell_is_on_one_tile(groups: int, rows: int, cols: int, tile_rows: int, tile_cols: int) -> None:
    tiles = tile_grid((groups, rows, cols), Array(rows=tile_rows, cols=tile_cols))
    covered = torch.zeros(groups, rows, cols, dtype=torch.int64)
    for tile in tiles:
        part = covered[tile.index]
        assert part.shape[0] <= tile_rows
        assert part.shape[1] <= tile_cols
        assert (tile.grid_row, tile.grid_col) == (tile.rows.start // tile_rows, tile.cols.start // tile_cols)
        covered[tile.index] += 1
    assert bool((covered == 1).all())
    assert len({tile.name for tile in tiles}) == len(tiles) == groups * -(-rows // tile_rows) * -(-cols // tile_cols)


def test_five_by_four_on_two_by_three() -> None:
    tiles = tile_grid((1, 5, 4), Array(rows=2, cols=3))
    assert [tile.name for tile in tiles] == ["tile0_0", "tile0_1", "tile1_0", "tile1_1", "tile2_0", "tile2_1"]
    assert tiles[5].index == (0, slice(4, 5), slice(3, 4))
    assert tile_grid((2, 1, 1), Array())[1].name == "group1.tile0_0"
