"""Partial sums of tiles above one another: each sees its word lines alone, and together they are the operation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import hrat
from hrat.conversion.blocks import geometry_of
from hrat.encoding import Geometry, RowTiles
from laws.strategies import layers


@given(case=layers, rows=st.integers(1, 9))
def test_each_tile_yields_what_its_rows_do(case: tuple[nn.Module, Tensor], rows: int) -> None:
    layer, x = case
    geometry = geometry_of(layer, None)  # type: ignore[arg-type]
    weight = layer.weight.detach()  # type: ignore[union-attr,operator]
    tiles = RowTiles(geometry, rows)
    got = tiles.apply(x, weight)
    assert len(got) == tiles.count == -(-geometry.matrix_shape[1] // rows)
    matrix = geometry.to_matrix(weight)
    for number, partial in enumerate(got):
        alone = torch.zeros_like(matrix)
        lines = slice(number * rows, (number + 1) * rows)
        alone[:, lines] = matrix[:, lines]
        torch.testing.assert_close(partial, geometry.apply(x, geometry.from_matrix(alone)), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(got.sum(0), geometry.apply(x, weight), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("inputs", "partial_sums", "count"), [(8, "adc", None), (9, "adc", 2), (9, "currents", None)])
def test_only_layers_with_more_inputs_than_rows_have_partial_sums(
    inputs: int, partial_sums: str, count: int | None
) -> None:
    spec = hrat.load_spec("generic-4bit", rows=8, partial_sums=partial_sums)
    tiles = RowTiles.of(Geometry(kind="linear", in_channels=inputs, out_channels=2), spec)
    assert (None if tiles is None else tiles.count) == count
