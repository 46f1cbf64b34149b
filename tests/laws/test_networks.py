"""Laws 1 to 3 for whole networks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hrat
from laws.checks import assert_law1, assert_laws, assert_model_is_chip, call, change_scales
from laws.networks import NETWORKS, SPECS, as_trained, network


@pytest.mark.parametrize("scales", ["signal", "channel"])
@pytest.mark.parametrize("spec", ["harsh", "harsh two-stage", "wan2022"])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_laws_hold_for_the_network(name: str, spec: str, scales: str) -> None:
    model, x = network(name)
    assert_laws(model, x, SPECS[spec], scales=scales)


@pytest.mark.parametrize("name", ["residual", "shared conv, two norms", "digital operations"])
def test_law_1_holds_with_other_scales_windows_and_batch_sizes(name: str) -> None:
    model, x = network(name)
    prepared = hrat.prepare(model, SPECS["harsh"], x, scales="channel")
    change_scales(prepared, 7)
    for layer in hrat.nn.crossbar_layers(prepared).values():
        layer.log_range.data.fill_(0.3)  # saturates many weights
    chip = hrat.program(hrat.deploy(prepared), chips=2)
    assert_model_is_chip(prepared, chip, x)
    assert_model_is_chip(prepared, chip, torch.cat([x, 3 * x]))
    assert_model_is_chip(prepared, chip, x[:1])


@pytest.mark.parametrize("spec", ["harsh", "wan2022 two-stage", "milo2021"])
def test_law_1_holds_after_saving_and_loading(spec: str, tmp_path: object) -> None:
    model, x = network("residual")
    prepared = hrat.prepare(model, SPECS[spec], x, scales="channel")
    deployment = hrat.deploy(prepared)
    deployment.save(f"{tmp_path}/deployment.safetensors")
    chip = hrat.program(hrat.Deployment.load(f"{tmp_path}/deployment.safetensors"), seed=4, chips=2)
    chip.save(f"{tmp_path}/chip.safetensors")
    loaded = hrat.load(f"{tmp_path}/chip.safetensors")
    assert isinstance(loaded, hrat.ProgrammedChip)
    assert_model_is_chip(prepared, loaded, x)
    direct = hrat.simulate(hrat.program(deployment, seed=4, chips=2), x).value
    assert torch.equal(hrat.simulate(loaded, x).value, direct)


def test_a_shared_layer_is_one_set_of_devices_and_two_norms_make_two() -> None:
    for name, n_layers in (("shared conv", 2), ("shared conv, two norms", 3)):
        model, x = network(name)
        deployment = hrat.deploy(hrat.prepare(model, SPECS["harsh"], x))
        assert len(deployment.layers) == n_layers, name


def test_a_chip_with_errors_differs_from_the_model_without_them() -> None:
    """Law 1 compares numbers that the errors really move."""
    model, x = network("fc4")
    prepared = hrat.prepare(model, SPECS["harsh"], x)
    chip = hrat.program(hrat.deploy(prepared), chips=2)
    value = hrat.simulate(chip, x).value
    assert float((value[0] - value[1]).abs().max()) > 1e-3
    assert float((value[0] - call(prepared, x)).abs().max()) > 1e-3
    assert_law1(prepared, x, SPECS["harsh"])


class _OverwrittenByFunction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y = F.relu_(x)
        return self.b(x + y)  # x is y: both are rectified


class _ResultThrownAway(_OverwrittenByFunction):
    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        F.relu_(x)
        return self.b(x)


class _MixesPositions(nn.Module):
    """A linear layer over positions, straight behind a convolution whose channels have scales of their own."""

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.conv, self.mix = nn.Conv1d(3, 4, 3, padding=1), nn.Linear(positions, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(F.relu(self.conv(x)))


class _Maxout(nn.Module):
    """Pools over the features of a linear layer, not over positions of a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 8), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.max_pool1d(self.a(x), 2))


@pytest.mark.parametrize("kind", [_OverwrittenByFunction, _ResultThrownAway])
def test_functions_that_overwrite_their_input(kind: type[nn.Module]) -> None:
    assert_laws(as_trained(kind()), torch.randn(6, 5, dtype=torch.float64), SPECS["harsh"])


@pytest.mark.parametrize("positions", [4, 8, 5])
def test_a_linear_layer_over_positions_with_scales_for_each_channel(positions: int) -> None:
    x = torch.randn(3, 3, positions, dtype=torch.float64)
    assert_laws(as_trained(_MixesPositions(positions)), x, SPECS["harsh"], scales="channel")


def test_pooling_over_features_with_scales_for_each_channel() -> None:
    assert_laws(as_trained(_Maxout()), torch.randn(6, 5, dtype=torch.float64), SPECS["harsh"], scales="channel")


@pytest.mark.parametrize("scales", ["signal", "channel"])
@pytest.mark.parametrize(
    "model",
    [
        nn.Conv1d(4, 6, 3),
        nn.Sequential(nn.Conv1d(4, 6, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(6, 2, 2)),
        nn.Sequential(nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6), nn.ReLU(), nn.Conv1d(6, 2, 2)),  # of six positions
    ],
)
def test_convolutions_without_a_batch(model: nn.Module, scales: str) -> None:
    assert_laws(as_trained(model), torch.randn(4, 8, dtype=torch.float64), SPECS["harsh"], scales=scales)
