"""Pass 4: which signals share a scale, what a scale starts at, and which may differ from channel to channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conversion.small import SPEC, Small
from hrat.circuit import ScaleRef
from hrat.conversion.scales import SIGMAS_OF_BATCH_NORM

X = torch.randn(3, 4)
IMAGE = torch.randn(3, 2, 4, 4)
V_READ, V_SWING = SPEC.device.v_read_V, SPEC.periphery.v_swing_V
Forward = Callable[..., Tensor]


class Layers(nn.Module):
    """Square linear layers a, b and c, and a forward pass that is given."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.a, self.b, self.c, self.steps = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), forward

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(self.a, self.b, self.c, x)


def groups(forward: Forward, spec: Any = SPEC) -> set[frozenset[str]]:
    """Names of the values that share a scale."""
    small = Small(Layers(forward), X, spec)
    signals = small.signals()
    members: dict[Any, set[str]] = {}
    for node in list(signals.parent):
        members.setdefault(signals.find(node), set()).add(node.name)
    return {frozenset(names) for names in members.values() if len(names) > 1}


def test_what_follows_a_layer_has_its_scale_and_the_next_layer_another() -> None:
    assert groups(lambda a, b, c, x: b(F.relu(a(x)).reshape(3, 4))) == {frozenset({"a", "relu", "reshape"})}


def test_signals_that_meet_share_one_scale() -> None:
    met = groups(lambda a, b, c, x: c(F.relu(a(x) + b(x))))
    assert met == {frozenset({"a", "b", "add", "add_swing", "relu"})}
    assert frozenset({"a", "b", "cat"}) in groups(lambda a, b, c, x: torch.cat([a(x), b(x)]))


def test_digital_operations_unite_nothing() -> None:
    assert groups(lambda a, b, c, x: a(x) * b(x)) == set()
    assert groups(lambda a, b, c, x: F.relu(F.gelu(a(x)))) == set()


def test_calls_of_one_layer_share_the_scales_on_both_sides() -> None:
    # b reads the input's DAC and a's ReLU; c keeps its two calls' outputs apart from any sum.
    shared = groups(lambda a, b, c, x: torch.cat([b(F.relu(b(a(x)))), c(x)]))
    assert frozenset({"a", "relu", "b", "b_1", "c", "cat"}) in shared


def first_alpha(model: nn.Module, name: str, x: Tensor = X, **how: Any) -> float:
    small = Small(model, x)
    scales = small.scales(**how)
    return float(scales.made[_made(scales, small.node(name))].log_alpha.detach().exp())


def _made(scales: Any, node: Any) -> str:
    scales.node_of(node)
    return str(scales.name_of(node))


def peak(small: Small, name: str) -> float:
    return float(small.node(name).meta["seen"].peak)


def test_the_peak_on_the_example_starts_at_the_limit_of_what_it_drives() -> None:
    model = Layers(lambda a, b, c, x: F.gelu(b(F.relu(a(x)))))
    small = Small(model, X)
    peaks = {name: peak(small, name) for name in ("x", "a", "relu", "b")}
    assert first_alpha(model, "x_dac") == pytest.approx(V_READ / peaks["x"])
    assert first_alpha(model, "relu") == pytest.approx(V_READ / max(peaks["a"], peaks["relu"]))
    assert first_alpha(model, "b") == pytest.approx(V_SWING / peaks["b"])  # behind it is an ADC


def test_an_output_may_grow_to_the_peak_that_is_asked_for() -> None:
    model = Layers(lambda a, b, c, x: a(x))
    assert first_alpha(model, "a", output_peak=50.0) == pytest.approx(V_SWING / 50.0)
    own = peak(Small(model, X), "a")
    assert first_alpha(model, "a", output_peak=own / 2) == pytest.approx(V_SWING / own)


def test_a_digital_sum_is_rescaled_without_being_an_output() -> None:
    spec = SPEC.replace({"array.rows": 3, "partial_sums": "adc"})
    small = Small(Layers(lambda a, b, c, x: b(F.gelu(a(x)))), X, spec)
    scales = small.scales(output_peak=1e6)
    alpha = float(scales.made[_made(scales, small.node("a"))].log_alpha.detach().exp())
    assert alpha == pytest.approx(V_SWING / peak(small, "a"))


def test_a_batch_norm_says_how_large_a_signal_is_whatever_the_example_shows() -> None:
    norm = nn.BatchNorm1d(4)
    torch.nn.init.constant_(norm.weight, -2.0)
    torch.nn.init.constant_(norm.bias, 0.5)
    assert norm.running_var is not None
    norm.running_var.fill_(1e-4)  # the example is far larger behind it
    model = nn.Sequential(nn.Linear(4, 4), norm, nn.ReLU(), nn.Linear(4, 2))
    assert peak(Small(model, X), "relu") > 10
    want = V_READ / (0.5 + SIGMAS_OF_BATCH_NORM * 2.0)
    assert first_alpha(model, "_0") == pytest.approx(want)


def test_a_signal_that_is_zero_has_a_scale_all_the_same() -> None:
    alpha = first_alpha(nn.Sequential(nn.Linear(4, 2)), "input_1_dac", torch.zeros(3, 4))
    assert alpha == pytest.approx(V_READ / SIGMAS_OF_BATCH_NORM)


def channels(model: nn.Module, name: str, x: Tensor = IMAGE) -> tuple[int, ...]:
    """Shape of the scale of a value."""
    small = Small(model, x, mode="channel")
    scales = small.scales()
    return tuple(scales.made[_made(scales, small.node(name))].log_alpha.shape)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Sequential(nn.Conv2d(2, 5, 3), nn.ReLU(), nn.Conv2d(5, 3, 1)), (5,)),
        (nn.Sequential(nn.Conv2d(2, 5, 3), nn.MaxPool2d(2), nn.Conv2d(5, 3, 1)), (5,)),
        (nn.Sequential(nn.Conv2d(2, 5, 1), nn.Flatten(), nn.Linear(80, 3)), (5,)),
        (nn.Sequential(nn.Conv2d(2, 5, 1), nn.Flatten(2), nn.Linear(16, 3)), ()),
        (nn.Sequential(nn.Conv2d(2, 5, 1), nn.Linear(4, 3)), ()),
        (nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3)), ()),
        (nn.Sequential(nn.Linear(4, 5), nn.ReLU()), ()),
        (nn.Sequential(nn.Conv2d(2, 5, 1), nn.Flatten(), nn.ReLU(), nn.Linear(80, 3)), ()),
    ],
)
def test_a_scale_for_each_channel_where_it_can_vanish_into_weights(model: nn.Module, shape: tuple[int, ...]) -> None:
    assert channels(model, "_0") == shape


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Sequential(nn.Conv1d(2, 5, 3), nn.ReLU()), (2, 5)),
        (nn.Sequential(nn.Conv2d(2, 5, 3), nn.MaxPool2d(2), nn.Conv2d(5, 3, 1)), (2, 5, 5)),
        (nn.Sequential(nn.Linear(4, 5), nn.ReLU()), (4,)),
    ],
)
def test_without_a_batch_dimension_channels_have_one_scale(model: nn.Module, shape: tuple[int, ...]) -> None:
    assert channels(model, "_0", torch.randn(shape)) == ()


class Broadcast(nn.Module):
    """A sum of five channels and one."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 5, 1), nn.Conv2d(2, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) + self.b(x)


def test_signals_of_different_channels_that_meet_have_one_scale_for_all() -> None:
    assert channels(Broadcast(), "a") == ()


def test_features_of_a_plain_linear_layer_are_channels_and_inputs_are_none() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    assert channels(model, "_0", X) == (5,)
    assert channels(model, "input_1_dac", X) == ()


def test_behind_a_flatten_a_scale_is_repeated_over_the_positions_of_its_channel() -> None:
    small = Small(nn.Sequential(nn.Conv2d(2, 5, 1), nn.Flatten(), nn.Linear(80, 3)), IMAGE, mode="channel")
    scales = small.scales()
    behind, first = small._blocks[1], small._blocks[0]
    entering = scales.entering(behind)
    assert entering.target is torch.repeat_interleave
    assert entering.args == (scales.node_of(first.node), 16)
    assert scales.entering(first).op == "call_module"


def test_each_scale_is_made_once_and_stands_in_front_of_all_that_computes() -> None:
    small = Small(Layers(lambda a, b, c, x: a(x) + b(x)), X)
    scales = small.scales()
    assert scales.node_of(small.node("a")) is scales.node_of(small.node("add_swing"))
    scales.node_of(small.node("x_dac"))
    assert len(scales.made) == 2
    targets = [str(node.target) for node in small.network.graph.nodes if node.op == "call_module"]
    assert all(target.startswith("scales.") for target in targets[:2])


@pytest.mark.parametrize("frozen", ["0", "2"])
def test_weights_that_are_frozen_have_no_scale_for_each_channel_on_either_side(frozen: str) -> None:
    model = nn.Sequential(nn.Conv2d(2, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 1))
    model.get_submodule(frozen).requires_grad_(False)
    assert channels(model, "_0") == ()
    assert channels(model, "_2") == (() if frozen == "2" else (4,))


class Halves(nn.Module):
    """Two layers of which the second one adds a tenth, and what both yield, halved, is the output."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return (x + 0.1 * self.b(F.relu(x))) / 2


def test_signals_that_differ_by_a_factor_have_one_scale_times_a_number() -> None:
    circuit = Small(Halves(), X).emitted()
    calls = circuit.first_calls()
    assert (calls["a"].alpha_out.scale, calls["a"].alpha_out.factor) == ("scales.a", 1.0)
    assert (calls["b"].alpha_in.scale, calls["b"].alpha_in.factor) == ("scales.a", 1.0)
    assert (calls["b"].alpha_out.scale, calls["b"].alpha_out.factor) == ("scales.a", pytest.approx(0.1))
    (read,) = (ref for key, ref in circuit.tensors.items() if key.endswith("reader"))
    assert read == ScaleRef("scales.a", factor=2.0)


def test_the_peak_of_each_value_is_within_its_limit_by_its_own_scale() -> None:
    small = Small(Halves(), X)
    scales = small.scales(output_peak=1e-9)
    nodes = ("a", "b", "relu", "add")
    peaks = {name: small.node(name).meta["seen"].peak for name in nodes}
    alpha = float(scales.made[_made(scales, small.node("a"))]().detach())
    ratios = {"a": 1.0, "b": 0.1, "relu": 1.0, "add": 1.0}
    assert max(alpha * ratios[name] * peaks[name] for name in nodes) == pytest.approx(V_READ)
