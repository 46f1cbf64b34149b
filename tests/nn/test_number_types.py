"""Models of half precision: volts and conductances are computed in single precision, digital values in theirs."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hrat
from hrat.errors import TrainingError
from hrat.training import fit
from laws.networks import SPECS

HALVES = [torch.float16, torch.bfloat16]


def convolutions() -> tuple[nn.Module, Tensor]:
    body = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 8), nn.GELU()]
    return nn.Sequential(*body, nn.Linear(8, 3)), torch.randn(4, 3, 8, 8)


class Loop(nn.Module):
    """A recurrent layer whose state is digital, and a layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.loop, self.norm, self.head = nn.LSTM(6, 5, batch_first=True), nn.LayerNorm(5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.loop(x)[0]))  # type: ignore[no-any-return]


def loop() -> tuple[nn.Module, Tensor]:
    return Loop(), torch.randn(4, 5, 6)


def largest_difference(got: Tensor, want: Tensor) -> float:
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    return float((got.double() - want.double()).abs().max() / want.double().abs().max().clamp(min=1))


@pytest.mark.parametrize("kind", HALVES)
@pytest.mark.parametrize("make", [convolutions, loop])
@pytest.mark.parametrize("spec", ["harsh", "wan2022 two-stage", "tile ADCs"])
def test_a_half_model_is_its_chip_and_the_original(kind: torch.dtype, make: Any, spec: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = make()
    model, x = model.to(kind).eval(), x.to(kind)
    eps = torch.finfo(kind).eps
    ideal = hrat.prepare(model, SPECS[spec].ideal(), x)
    prepared = hrat.prepare(model, SPECS[spec], x)
    hrat.program(hrat.deploy(prepared), chips=2, seed=3).save(tmp_path / "chips")
    chips = hrat.load(tmp_path / "chips")
    value = hrat.simulate(chips, x).value
    with torch.no_grad():
        assert largest_difference(ideal(x), model(x)) < 8 * eps
        for index in range(2):
            with hrat.use_chip(prepared, chips, index):
                assert largest_difference(prepared(x), value[index]) < 8 * eps


@pytest.mark.parametrize("kind", HALVES)
def test_targets_do_not_depend_on_the_number_type(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    model, x = convolutions()
    model, x = model.to(kind), x.to(kind)
    short = hrat.deploy(hrat.prepare(model, "wan2022", x))
    long = hrat.deploy(hrat.prepare(copy.deepcopy(model).double(), "wan2022", x.double()))
    assert short.number_type == str(kind).removeprefix("torch.")
    assert long.number_type == ""
    for name, layer in short.layers.items():
        assert layer.g_pos_S.dtype == torch.float32
        # Scales, whose logarithms are parameters of the model, are rounded as these are.
        for got, want in zip(
            (layer.g_pos_S, layer.g_neg_S), (long.layers[name].g_pos_S, long.layers[name].g_neg_S), strict=True
        ):
            assert float(((got - want) / want).abs().median()) < 1e-3
        assert layer.bias_V is not None
        assert layer.bias_V.dtype == torch.float32


@pytest.mark.parametrize("make", [convolutions, loop])
def test_a_bfloat16_model_trains(make: Any) -> None:
    torch.manual_seed(0)
    model, x = make()
    kind = torch.bfloat16
    prepared = hrat.prepare(model.to(kind), "generic-4bit", x.to(kind))
    label = torch.arange(4) % 3 if make is convolutions else torch.arange(20).view(4, 5) % 3
    result = fit(prepared, [(x.to(kind), label)] * 20, epochs=2, lr=1e-2, optimizer="sgd", freeze=0.0, progress=False)
    assert result.history[1]["loss"] < result.history[0]["loss"]
    assert {parameter.dtype for parameter in prepared.parameters()} == {kind}


def test_a_float16_model_has_gradients_and_no_optimiser() -> None:
    model, x = convolutions()
    prepared = hrat.prepare(model.half(), "generic-4bit", x.half()).train()
    prepared(x.half()).float().square().mean().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in prepared.parameters() if p.grad is not None)
    with pytest.raises(TrainingError, match=r"is of type float16.*expected model\.float\(\)"):
        fit(prepared, [(x.half(), torch.zeros(4).long())], progress=False)


def test_a_model_may_become_half_after_it_was_prepared() -> None:
    torch.manual_seed(0)
    model, x = convolutions()
    prepared = hrat.prepare(model, "generic-4bit", x).eval().to(torch.bfloat16)
    chips = hrat.program(hrat.deploy(prepared))
    with hrat.use_chip(prepared, chips), torch.no_grad():
        value = hrat.simulate(chips, x.bfloat16()).value[0]
        assert largest_difference(prepared(x.bfloat16()), value) < 8 * torch.finfo(torch.bfloat16).eps
