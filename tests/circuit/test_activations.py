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
RANDOM = {"RReLU"}  # draws its slopes in training, so that no chip could be what was trained
OTHERS = {"MultiheadAttention", "Softmax2d"}  # no function of one vector
NAMES = sorted(set(activation.__all__) - RANDOM - OTHERS)


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


@pytest.mark.parametrize("name", sorted(RANDOM))
def test_a_random_one_is_refused(name: str) -> None:
    x = torch.randn(5, 6)
    with pytest.raises(hrat.errors.ConversionError, match="is not among the operations"):
        hrat.prepare(nn.Sequential(nn.Linear(6, 8), getattr(nn, name)()), "generic-4bit", x)
