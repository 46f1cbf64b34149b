"""Pass 2: what is a voltage, what is digital, and the reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conversion.small import SPEC, Small
from hrat.conversion.domains import digital_rows

X = torch.randn(3, 4)


class Between(nn.Module):
    """Two linear layers, something behind the first one and in front of the second one, and something in front."""

    def __init__(
        self, step: Callable[[Tensor], Tensor], first: Callable[[Tensor], Tensor] = lambda x: x, width: int = 4
    ) -> None:
        super().__init__()
        self.a, self.b, self.step, self.first = nn.Linear(4, 4), nn.Linear(width, 2), step, first

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.step(self.a(self.first(x))))


def analog_and_digital(small: Small) -> tuple[list[str], dict[str, str]]:
    domains = small.domains()
    analog = [node.name for node in small.network.graph.nodes if node in domains.analog]
    return analog, {node.name: why for node, why in domains.digital.items()}


@pytest.mark.parametrize(
    "step", [F.relu, lambda v: v + v, lambda v: v.reshape(3, 4), lambda v: v.mean(1, keepdim=True).expand(3, 4)]
)
def test_what_commutes_with_a_scale_stays_analog(step: Callable[[Tensor], Tensor]) -> None:
    analog, digital = analog_and_digital(Small(Between(step), X))
    assert {"a", "b"} < set(analog)
    assert digital == {}


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (F.gelu, "does not commute with a scale"),
        (lambda v: v + 1, "one of its operands is digital or constant"),
        (lambda v: v * v, "multiplies signals, or one with numbers that no crossbar holds"),
    ],
)
def test_what_does_not_is_digital_and_says_why(step: Callable[[Tensor], Tensor], why: str) -> None:
    analog, digital = analog_and_digital(Small(Between(step), X))
    assert analog == ["a", "b"]
    assert list(digital.values()) == [why]


@pytest.mark.parametrize(
    "step",
    [
        lambda v: 0.1 * v,
        lambda v: v / 3,
        lambda v: torch.mul(F.relu(v), 2),
        lambda v: v.mul(0.5) * 4,
        lambda v: torch.cat([v[:, :2] * 2, F.relu(v)[:, 2:] * 2], 1) * 0.5,
    ],
)
def test_a_product_with_a_positive_number_takes_no_hardware(step: Callable[[Tensor], Tensor]) -> None:
    small = Small(Between(step), X)
    assert small.domains().digital == {}
    nodes = Small(Between(step), X).emitted().nodes
    assert not {"mul", "truediv"} & {node.op for node in nodes}


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (lambda v: -0.1 * v, "the number is not positive"),
        (lambda v: v * 0, "the number is not positive"),
        (lambda v: v + 0.5 * F.relu(v), "meet in one signal, which has one scale"),
        (lambda v: torch.sub(F.relu(v), v, alpha=2), "meet in one signal, which has one scale"),
        (lambda v: 2 / v, "multiplies signals, or one with numbers"),
    ],
)
def test_one_that_no_scale_can_take_is_digital(step: Callable[[Tensor], Tensor], why: str) -> None:
    _, digital = analog_and_digital(Small(Between(step), X))
    assert why in next(iter(digital.values()))


class Branches(nn.Module):
    """A sum of two layers with a factor, and one of a layer and of a sum with the same layer in it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y = torch.add(x, self.b(F.relu(x)), alpha=0.1)
        return x + 0.2 * y


def test_of_several_products_all_that_fit_together_are_analog() -> None:
    analog, digital = analog_and_digital(Small(Branches(), X))
    assert analog == ["a", "relu", "b", "mul_1", "add"]
    assert list(digital) == ["mul", "add_1"]


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_padding_is_analog_with_zeros_alone(value: float) -> None:
    def pad(v: Tensor) -> Tensor:
        return F.pad(v, (0, 1), "constant", value)

    analog, digital = analog_and_digital(Small(Between(pad, width=5), X))
    assert ("pad" in analog) == (value == 0)
    assert ("pad" in digital) == (value != 0)


def test_arithmetic_in_front_of_the_first_crossbar_is_digital_and_layout_is_nothing() -> None:
    analog, digital = analog_and_digital(Small(Between(F.relu, first=lambda x: F.relu(x).reshape(3, 4)), X))
    assert analog == ["a", "relu_1", "b"]
    assert digital == {"relu": "in front of the first crossbar; what it reads is digital"}


def test_behind_a_digital_operation_all_is_digital_up_to_the_next_crossbar() -> None:
    analog, digital = analog_and_digital(Small(Between(lambda v: F.relu(F.gelu(v))), X))
    assert analog == ["a", "b"]
    assert digital["relu"] == "what it reads is digital"


def test_whole_numbers_are_no_voltages() -> None:
    analog, digital = analog_and_digital(Small(Between(lambda v: v.to(torch.int64).float()), X))
    assert analog == ["a", "b"]
    assert "to" in digital


def test_a_layer_whose_tiles_have_adcs_yields_a_digital_sum() -> None:
    spec = SPEC.replace({"array.rows": 3, "partial_sums": "adc"})
    small = Small(Between(F.relu), X, spec)
    domains = small.domains()
    a, relu = small.node("a"), small.node("relu")
    assert a in domains.summed & domains.analog
    assert not domains.is_voltage(a)
    assert relu not in domains.analog
    assert domains.digital[relu] == "what it reads is digital"


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)), "stands between relu and 'output'"),
        (
            nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3, padding=1)),
            "the zero padding or the shape of '3'",
        ),
        (nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3)), "in front of the first crossbar"),
    ],
)
def test_a_batch_norm_that_stays_says_why(model: nn.Module, why: str) -> None:
    _, digital = analog_and_digital(Small(model, torch.randn(3, 2, 4, 4)))
    assert any(why in reason for reason in digital.values())


def test_the_report_counts_converters_where_they_stand() -> None:
    spec = SPEC.replace(adc_bits=7, input_dac_bits=6)
    small = Small(Between(lambda v: F.gelu(F.silu(v)).reshape(3, 4)), X, spec)
    rows = {row.operation: row for row in digital_rows(small.network, small.borders())}
    assert (rows["silu"].adc_bits, rows["silu"].dac_bits) == (7, None)
    assert (rows["gelu"].adc_bits, rows["gelu"].dac_bits) == (None, 6)


class Slopes(nn.Module):
    """PReLU whose slopes are given: by parameters, by what is computed from these alone, or by a signal."""

    def __init__(self, slopes: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.weight, self.slopes = nn.Linear(4, 4), nn.Linear(4, 2), nn.Parameter(torch.rand(1)), slopes

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.b(F.prelu(x, self.slopes(self.weight, x)))


@pytest.mark.parametrize(
    ("slopes", "are_signals"),
    [
        (lambda w, x: w, False),
        (lambda w, x: F.softplus(w).expand(4), False),
        (lambda w, x: w * x.mean(), True),
    ],
)
def test_slopes_are_numbers_of_the_network(slopes: Callable[[Tensor, Tensor], Tensor], are_signals: bool) -> None:
    analog, digital = analog_and_digital(Small(Slopes(slopes), X))
    assert ("prelu" in analog) != are_signals
    assert ("its slopes are signals" in digital.values()) == are_signals
