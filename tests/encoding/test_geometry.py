"""Orientation and order of a layer's weights on crossbars."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

import hrat
from hrat.encoding import Geometry
from laws.checks import assert_patches_are_the_operation
from laws.strategies import layers


def geometry_of(layer: nn.Module, x: Tensor) -> Geometry:
    (found,) = hrat.nn.crossbar_layers(hrat.prepare(nn.Sequential(layer), "ideal", x)).values()
    return found.geometry


def test_rows_are_inputs_and_columns_are_outputs() -> None:
    geometry = Geometry(kind="linear", in_channels=5, out_channels=4)
    weight = torch.arange(20.0).reshape(4, 5)
    matrix = geometry.to_matrix(weight)
    assert geometry.matrix_shape == (1, 5, 4) == tuple(matrix.shape)
    for output in range(4):
        for given_input in range(5):
            assert matrix[0, given_input, output] == weight[output, given_input]


def test_rows_of_a_convolution_run_over_the_kernel_first_then_over_channels() -> None:
    geometry = Geometry(
        kind="conv",
        in_channels=4,
        out_channels=6,
        kernel=(2, 3),
        stride=(1, 1),
        padding=((0, 0), (0, 0)),
        dilation=(1, 1),
        groups=2,
    )
    weight = torch.arange(72.0).reshape(6, 2, 2, 3)
    matrix = geometry.to_matrix(weight)
    assert geometry.matrix_shape == (2, 12, 3) == tuple(matrix.shape)
    assert matrix[0, 0, 1] == weight[1, 0, 0, 0]
    assert matrix[0, 1, 1] == weight[1, 0, 0, 1]
    assert matrix[0, 3, 1] == weight[1, 0, 1, 0]
    assert matrix[0, 6, 1] == weight[1, 1, 0, 0]
    assert matrix[1, 11, 2] == weight[5, 1, 1, 2]


def test_a_transposed_convolution_by_hand() -> None:
    """Input (a, b), kernel (1, 2, 3), stride 2: output a, 2a, 3a + b, 2b, 3b. The word lines see a, 0, b and zeros."""
    geometry = Geometry(
        kind="conv_transpose",
        in_channels=1,
        out_channels=1,
        kernel=(3,),
        stride=(2,),
        padding=((0, 0),),
        dilation=(1,),
        output_padding=(0,),
    )
    weight = torch.tensor([[[1.0, 2.0, 3.0]]])
    assert geometry.to_matrix(weight).flatten().tolist() == [3.0, 2.0, 1.0]
    inputs = torch.tensor([[[10.0, 20.0]]])
    expected = [[0, 0, 10, 0, 20], [0, 10, 0, 20, 0], [10, 0, 20, 0, 0]]
    assert geometry.patches(inputs)[0, 0].tolist() == expected
    lines = geometry.to_matrix(weight).mT @ geometry.patches(inputs)
    assert lines.flatten().tolist() == [10.0, 20.0, 50.0, 40.0, 60.0]
    assert_patches_are_the_operation(geometry, weight, inputs)


@settings(max_examples=80)
@given(case=layers)
def test_matrix_and_weight_are_each_others_inverse(case: tuple[nn.Module, Tensor]) -> None:
    layer, x = case
    geometry = geometry_of(layer, x)
    weight = layer.weight.detach()
    matrix = geometry.to_matrix(weight)
    assert tuple(matrix.shape) == geometry.matrix_shape
    assert tuple(weight.shape) == geometry.weight_shape
    assert torch.equal(geometry.from_matrix(matrix), weight)
    numbers = torch.arange(float(matrix.numel())).reshape(matrix.shape)
    assert torch.equal(geometry.to_matrix(geometry.from_matrix(numbers)), numbers)


@settings(max_examples=40)
@given(case=layers)
def test_a_geometry_survives_json(case: tuple[nn.Module, Tensor]) -> None:
    geometry = geometry_of(*case)
    again = Geometry.from_dict(json.loads(json.dumps(geometry.to_dict())))
    assert again == geometry
    assert hash(again) == hash(geometry)


@settings(max_examples=40)
@given(case=layers)
def test_values_of_channels_meet_their_channel_of_the_weight(case: tuple[nn.Module, Tensor]) -> None:
    """Scaling inputs and outputs channel by channel is scaling the weight through the two views."""
    layer, x = case
    geometry = geometry_of(layer, x)
    weight = layer.weight.detach()
    a = torch.rand(geometry.in_channels, dtype=torch.float64) + 0.5
    b = torch.rand(geometry.out_channels, dtype=torch.float64) + 0.5
    shape = (-1,) if geometry.kind == "linear" else (-1, *(1,) * geometry.dims)
    scaled = geometry.apply(x, weight * geometry.in_view(a) * geometry.out_view(b))
    expected = geometry.apply(x * a.view(shape), weight) * b.view(shape)
    torch.testing.assert_close(scaled, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("layer", "pads"),
    [
        (nn.Linear(3, 3), False),
        (nn.Conv1d(3, 3, 3), False),
        (nn.Conv1d(3, 3, 3, padding=1), True),
        (nn.Conv1d(3, 3, 2, padding="same"), True),
        (nn.Conv1d(3, 3, 1, padding="same"), False),
        (nn.Conv1d(3, 3, 3, padding=1, padding_mode="replicate"), False),
        (nn.ConvTranspose1d(3, 3, 2), True),
    ],
)
def test_which_layers_see_zeros_that_stand_for_nothing(layer: nn.Module, pads: bool) -> None:
    x = torch.randn(2, 3) if isinstance(layer, nn.Linear) else torch.randn(2, 3, 5)
    assert geometry_of(layer, x).pads_with_zeros == pads
