"""Pass 5: layers in the place of linear operations, with their scales and the error that calls share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from conversion.small import SPEC, Small, kind
from hrat.conversion.written_out import write_out
from hrat.nn import CrossbarLayer, CrossbarRecurrence, DigitalBatchNorm, InputDac, OutputAdc, OutputRescale

X = torch.randn(3, 4)


class Calls(nn.Module):
    """Two linear layers with a batch norm each, and a forward pass that is given."""

    def __init__(self, forward: Callable[..., Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.steps = nn.Linear(4, 4), nn.Linear(4, 4), forward
        self.norm, self.other = nn.BatchNorm1d(4), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(self, x)


def scale_names(small: Small, node: fx.Node) -> list[str]:
    words = [str(arg.target) for arg in node.args[1:3] if isinstance(arg, fx.Node)]
    return [word.removeprefix("scales.") for word in words]


def test_a_layer_has_the_place_the_weights_and_the_batch_norms_of_its_module() -> None:
    norms = nn.BatchNorm1d(4), nn.BatchNorm1d(5)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), norms[0], nn.Linear(4, 5), norms[1], nn.ReLU())
    small = Small(model, X)
    before, linear, after = (small.network.module.get_submodule(name) for name in "234")
    _, row = small.built()
    layer = small.network.module.get_submodule("3")
    assert isinstance(layer, CrossbarLayer)
    assert layer.weight is linear.weight
    assert layer.batch_norm_before is before
    assert layer.batch_norm is after
    assert (row.name, row.batch_norm, row.bias, row.calls) == ("3", "2 (in front), 4", True, 1)
    assert (row.groups, row.rows, row.cols) == (1, 4, 5)


def test_a_call_is_given_the_scales_of_what_enters_and_what_leaves() -> None:
    small = Small(Calls(lambda m, x: m.b(F.relu(m.a(x)))), X)
    rows = {row.name: row for row in small.built()}
    assert scale_names(small, small.node("a")) == ["x_dac", "a"]
    assert scale_names(small, small.node("b")) == ["a", "b"]
    assert (rows["b"].scale_in, rows["b"].scale_out) == ("a", "b")
    assert not rows["b"].batch_norm


def test_converters_are_given_the_scale_of_their_voltage() -> None:
    small = Small(Calls(lambda m, x: m.b(F.gelu(m.a(x)))), X)
    small.built()
    of_kind = {
        kind(small.network, node): str(node.args[1].target)  # type: ignore[union-attr]
        for node in small.network.calls_of(OutputAdc, InputDac, OutputRescale)
        if node.name != "x_dac"
    }
    assert of_kind == {"OutputAdc": "scales.a", "InputDac": "scales.gelu_dac", "OutputRescale": "scales.b"}


@pytest.mark.parametrize("forward", [lambda m, x: m.a(F.relu(m.a(x))), lambda m, x: torch.cat([m.a(x), m.a(-x)])])
def test_a_module_that_is_called_twice_is_one_layer_with_one_error(forward: Callable[..., Tensor]) -> None:
    small = Small(Calls(forward), X)
    (row,) = small.built()
    assert row.calls == 2
    first, second = small.node("a"), small.node("a_1")
    assert first.target == second.target == "a"
    assert first.args[1:] == second.args[1:]
    error = first.args[3]
    assert isinstance(error, fx.Node)
    assert kind(small.network, error) == "SharedError"
    assert list(error.args) == list(first.args[1:3])
    assert torch.isfinite(small.values()).all()


def test_a_module_that_is_called_once_draws_its_own_error() -> None:
    small = Small(nn.Sequential(nn.Linear(4, 2)), X)
    small.built()
    assert len(small.node("_0").args) == 3


def test_the_same_weights_behind_two_batch_norms_are_two_layers() -> None:
    small = Small(Calls(lambda m, x: m.norm(m.a(x)) + m.other(m.a(x))), X)
    rows = small.built()
    assert [(row.name, row.batch_norm) for row in rows] == [("a", "norm"), ("a_copy2", "other")]
    first, second = (small.network.module.get_submodule(row.name) for row in rows)
    assert first.weight is second.weight
    assert [small.node(name).target for name in ("a", "a_1")] == ["a", "a_copy2"]


def test_a_recurrence_has_scales_of_its_own_for_its_state_and_its_product() -> None:
    small = Small(write_out(nn.GRU(4, 3)), torch.randn(5, 2, 4))
    *_, row = small.built()
    (node,) = small.network.calls_of(CrossbarRecurrence)
    state, product = (str(scale.target) for scale in node.args[2:4])  # type: ignore[union-attr]
    assert row.name == f"{node.target}.product"
    assert [f"scales.{row.scale_in}", f"scales.{row.scale_out}"] == [state, product]
    assert state.endswith("_state")
    assert product.endswith("_product")
    assert node.args[1] == (None,)
    for scale, peak, limit_V in (
        (state, "state_peak", SPEC.device.v_read_V),
        (product, "product_peak", SPEC.periphery.v_swing_V),
    ):
        alpha = small.network.module.get_submodule(scale)()
        assert float(alpha.detach()) * node.meta[peak] == pytest.approx(limit_V)


def test_modules_that_nothing_calls_any_more_are_gone() -> None:
    small = Small(Calls(lambda m, x: m.norm(m.a(x))), X)
    small.built()
    names = {name for name, _ in small.network.module.named_children()}
    assert {"a", "x_dac", "scales"} <= names
    assert not names & {"b", "norm", "other"}


def test_a_batch_norm_that_no_layer_takes_is_wrapped() -> None:
    small = Small(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.BatchNorm1d(4)), X)
    small.built()
    assert isinstance(small.network.module.get_submodule("2"), DigitalBatchNorm)
