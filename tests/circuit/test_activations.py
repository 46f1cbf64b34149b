"""Every activation that PyTorch has as a module, on chips: one that it gets is noticed here."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import activation

import hrat
from hrat.nn import use_chip
from laws.checks import assert_same

FURTHER = {"Threshold": (0.1, -0.2), **dict.fromkeys(("Softmax", "Softmin", "LogSoftmax"), (1,))}
OTHERS = {"MultiheadAttention", "Softmax2d"}  # no function of one vector
NAMES = sorted(set(activation.__all__) - OTHERS)


@pytest.mark.parametrize("name", NAMES)
def test_a_chip_computes_what_the_prepared_model_does(name: str) -> None:
    torch.manual_seed(0)
    act = getattr(nn, name)(*FURTHER.get(name, ()))
    last = nn.Linear(4 if name == "GLU" else 8, 3)
    x: Tensor = torch.randn(5, 6, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(6, 8), act, last).double()
    prepared = hrat.prepare(model, "generic-4bit", x).eval()
    chip = hrat.program(hrat.deploy(prepared), seed=0)
    with torch.no_grad(), use_chip(prepared, chip):
        assert_same(prepared(x), hrat.simulate(chip, x).value[0], name, 1e-12)


def test_random_slopes_are_the_mean_slope_and_the_report_says_so() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 6)
    model = nn.Sequential(nn.Linear(6, 8), nn.RReLU(0.1, 0.3), nn.Linear(8, 3))
    prepared = hrat.prepare(model, hrat.load_spec("generic-4bit").ideal(), x)
    assert not prepared.report.digital_operations
    assert any("mean slope" in note for note in prepared.report.notes)
    assert_same(prepared.eval()(x), model.eval()(x), "RReLU", 1e-6)
