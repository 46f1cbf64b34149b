"""Which einsums with a parameter are linear layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hrat
from conversion.small import SPEC
from laws.checks import assert_laws


class Product(nn.Module):
    """A linear layer, and an einsum of what it yields with a parameter."""

    def __init__(self, equation: str, x: tuple[int, ...], w: tuple[int, ...], way: str) -> None:
        super().__init__()
        self.a, self.w = nn.Linear(x[-1], x[-1]), nn.Parameter(torch.randn(w))
        self.equation, self.way = equation, way

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        if self.way == "in front":
            return torch.einsum(self.equation, self.w, x)
        return torch.einsum(self.equation, x, self.w.t() if self.way == "transposed" else self.w)


def einsum(equation: str, x: tuple[int, ...], w: tuple[int, ...], way: str = "") -> tuple[nn.Module, Tensor]:
    return Product(equation, x, w, way).double().eval(), torch.randn(x, dtype=torch.float64)


@pytest.mark.parametrize(
    "case",
    [
        ("bi,oi->bo", (3, 4), (5, 4)),
        ("bi,io->bo", (3, 4), (4, 5)),
        ("bi,io", (3, 4), (4, 4)),
        ("oi,bi->bo", (3, 4), (5, 4), "in front"),
        ("bi,oi->bo", (3, 4), (4, 4), "transposed"),
        ("bi,io->ob", (3, 4), (4, 4), "transposed"),
        ("bnd,df->bnf", (3, 2, 4), (4, 5)),
        ("b h w c, c k -> b h w k", (3, 2, 6, 4), (4, 5)),
        ("bchw,kc->bkhw", (3, 4, 2, 5), (6, 4)),
        ("...i,oi->...o", (3, 2, 4), (5, 4)),
        ("...ij,oi->...oj", (3, 4, 2), (5, 4)),
        ("bni,oi->nbo", (3, 2, 4), (5, 4)),
    ],
)
def test_one_that_is_a_linear_layer_is_on_a_crossbar(case: Any) -> None:
    model, x = einsum(*case)
    prepared = assert_laws(model, x, SPEC)
    assert [row.kind for row in prepared.report.layers] == ["Linear", "Linear"]
    assert prepared.report.digital_operations == []
    prepared.train()(x).sum().backward()
    assert all(p.grad is not None for p in prepared.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    "case",
    [
        ("bi,oi->b", (3, 4), (5, 4)),  # sums over the results
        ("bi,bi->b", (3, 4), (3, 4)),
        ("bi,oi->boi", (3, 4), (5, 4)),
        ("bni,oi->bo", (3, 2, 4), (5, 4)),  # sums over positions
        ("ii,io->o", (4, 4), (4, 5)),
        ("...i,oi->o...", (3, 2, 4), (5, 4)),
    ],
)
def test_others_are_digital(case: Any) -> None:
    model, x = einsum(*case)
    report = hrat.prepare(model, SPEC, x).report
    assert len(report.layers) == 1
    assert [row.operation for row in report.digital_operations] == ["einsum"]


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(torch.einsum("bi,oi->bo", x, self.w))
        return torch.einsum("bi,oi->bo", x, self.w)


def test_two_with_the_same_parameter_are_one_set_of_devices() -> None:
    (row,) = hrat.prepare(Shared(), SPEC, torch.randn(3, 4)).report.layers
    assert row.calls == 2
