"""Laws 1 to 3 for every layer type, every shape of it and every kind of hardware."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import hrat
from hrat.spec import HardwareSpec
from laws.checks import assert_law1, assert_law2, assert_law3, assert_laws, assert_patches_are_the_operation
from laws.networks import SPECS, as_trained
from laws.strategies import (
    blocks,
    convolutions,
    examples,
    hardware,
    layers,
    linear_layers,
    scale_modes,
    transposed_convolutions,
)

Case = tuple[nn.Module, Tensor]


@examples(60)
@given(case=linear_layers(), spec=hardware, scales=scale_modes)
def test_linear(case: Case, spec: HardwareSpec, scales: str) -> None:
    layer, x = case
    assert_laws(nn.Sequential(layer), x, spec, scales=scales)


@examples(150)
@given(case=convolutions(), spec=hardware, scales=scale_modes)
def test_convolution(case: Case, spec: HardwareSpec, scales: str) -> None:
    layer, x = case
    assert_laws(nn.Sequential(layer), x, spec, scales=scales)


@examples(150)
@given(case=transposed_convolutions(), spec=hardware, scales=scale_modes)
def test_transposed_convolution(case: Case, spec: HardwareSpec, scales: str) -> None:
    layer, x = case
    assert_laws(nn.Sequential(layer), x, spec, scales=scales)


@pytest.mark.parametrize("scales", ["signal", "channel"])
@examples(100)
@given(case=blocks(), spec=hardware)
def test_layer_with_batch_norms(case: Case, spec: HardwareSpec, scales: str) -> None:
    assert_laws(*case, spec, scales=scales)


@examples(60)
@given(case=layers)
def test_word_lines_times_conductances_is_the_operation(case: Case) -> None:
    layer, x = case
    found = hrat.nn.crossbar_layers(hrat.prepare(nn.Sequential(layer), "ideal", x))["0"]
    assert_patches_are_the_operation(found.geometry, layer.weight.detach(), x)


@pytest.mark.parametrize(
    ("convolution", "folds"),
    [
        (nn.Conv2d(3, 4, 3), True),
        (nn.Conv2d(3, 4, 3, padding="valid"), True),
        (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), True),
        (nn.Conv2d(3, 4, 1, padding="same"), True),
        (nn.Conv2d(3, 4, 3, padding=1), False),
        (nn.Conv2d(3, 4, 3, padding="same"), False),
        (nn.ConvTranspose2d(3, 4, 2, stride=2), False),
    ],
)
@pytest.mark.parametrize("spec", ["generic-3bit-harsh", "wan2022"])
def test_batch_norm_in_front_folds_where_that_is_exact_and_else_is_digital(
    convolution: nn.Module, folds: bool, spec: str
) -> None:
    model = as_trained(nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(), nn.BatchNorm2d(3), convolution))
    prepared = assert_laws(model, torch.randn(3, 2, 5, 5, dtype=torch.float64), spec)
    _, layer = hrat.nn.crossbar_layers(prepared).values()
    assert (layer.batch_norm_before is not None) == folds
    digital = [m for m in prepared.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(digital) == 1
    assert ("(in front)" in prepared.report.layers[1].batch_norm) == folds
    assert any("zero padding" in note for note in prepared.report.notes) != folds


@pytest.mark.parametrize("name", sorted(SPECS))
@pytest.mark.parametrize("batch_norm", hrat.nn.BATCH_NORM_FORMS)
def test_the_form_of_batch_norm_is_of_training_only(name: str, batch_norm: str) -> None:
    model = as_trained(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)))
    assert_laws(model, torch.randn(6, 4, dtype=torch.float64), SPECS[name], batch_norm=batch_norm)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(3, 4),
        nn.Conv2d(3, 4, 2),
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"),
        nn.ConvTranspose2d(3, 4, 2, stride=2),
    ],
)
def test_a_model_that_is_one_layer(layer: nn.Module) -> None:
    shape = (4, 3) if isinstance(layer, nn.Linear) else (2, 3, 4, 5)
    assert_laws(layer.double(), torch.randn(shape, dtype=torch.float64), "generic-3bit-harsh")


@given(spec=hardware, n=st.integers(1, 5))
def test_zero_weights_and_zero_inputs(spec: HardwareSpec, n: int) -> None:
    model = nn.Linear(n, 3).double()
    nn.init.zeros_(model.weight)
    x = torch.zeros(2, n, dtype=torch.float64)
    assert_law1(model, x, spec)
    assert_law2(model, x, spec)
    assert_law3(model, x, spec)


def test_the_ideal_preset_is_the_original_network() -> None:
    model = as_trained(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 4)))
    x = torch.randn(5, 2, 5, 5, dtype=torch.float64)
    prepared = hrat.prepare(model, "ideal", x)
    with torch.no_grad():
        torch.testing.assert_close(prepared(x), model(x), rtol=1e-12, atol=1e-12)
        chip = hrat.simulate(hrat.program(hrat.deploy(prepared)), x)
    torch.testing.assert_close(chip.value[0], model(x).detach(), rtol=1e-12, atol=1e-12)
