"""Pass 3: converters where values pass between volts and digital numbers, each signal through one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from conversion.small import SPEC, Small, kind

X = torch.randn(3, 4)
Forward = Callable[[nn.Module, nn.Module, Tensor], Tensor]


class Two(nn.Module):
    """Two linear layers and a forward pass that is given."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.a, self.b, self.steps = nn.Linear(4, 4), nn.Linear(4, 4), forward

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(self.a, self.b, x)


def bordered(forward: Forward, **spec: object) -> Small:
    small = Small(Two(forward), X, SPEC.replace(spec))
    small.borders()
    return small


def read_by(small: Small, node: fx.Node) -> list[str]:
    return [kind(small.network, source) for source in node.all_input_nodes]


@pytest.mark.parametrize(
    ("forward", "kinds"),
    [
        (lambda a, b, x: b(F.relu(a(x))), ["InputDac", "Linear", "relu", "Linear", "OutputRescale"]),
        (lambda a, b, x: F.relu(a(x)), ["InputDac", "Linear", "relu", "OutputRescale"]),
        (
            lambda a, b, x: b(F.gelu(a(x))),
            ["InputDac", "Linear", "OutputAdc", "gelu", "InputDac", "Linear", "OutputRescale"],
        ),
        (lambda a, b, x: F.gelu(a(x)), ["InputDac", "Linear", "OutputAdc", "gelu"]),
        (lambda a, b, x: a(x) + b(x), ["InputDac", "Linear", "Linear", "add", "SwingClamp", "OutputRescale"]),
    ],
)
def test_converters_stand_between_volts_and_numbers_and_nowhere_else(forward: Forward, kinds: list[str]) -> None:
    assert bordered(forward).kinds() == kinds


def test_one_dac_drives_all_that_read_a_number() -> None:
    small = bordered(lambda a, b, x: torch.cat([a(x), b(x)]))
    assert small.kinds().count("InputDac") == 1
    assert small.node("a").args == small.node("b").args
    assert read_by(small, small.node("a")) == ["InputDac"]


def test_one_adc_serves_all_digital_readers_of_a_voltage() -> None:
    small = bordered(lambda a, b, x: F.gelu(v := a(x)) * F.silu(v))
    assert small.kinds().count("OutputAdc") == 1
    for name in ("gelu", "silu"):
        assert read_by(small, small.node(name)) == ["OutputAdc"]


def test_analog_readers_beside_a_digital_one_keep_the_voltage() -> None:
    small = bordered(lambda a, b, x: b(v := a(x)) * F.silu(v))
    assert read_by(small, small.node("b")) == ["Linear"]
    assert read_by(small, small.node("silu")) == ["OutputAdc"]


def test_sizes_of_a_voltage_are_asked_without_an_adc() -> None:
    small = bordered(lambda a, b, x: b((v := a(x)).reshape(v.size(0), 4)))
    assert "OutputAdc" not in small.kinds()
    assert read_by(small, small.node("size")) == ["Linear"]


def test_an_amplifier_that_adds_has_a_swing_for_all_of_its_readers() -> None:
    small = bordered(lambda a, b, x: torch.cat([F.relu(s := a(x) + b(x)), s]))
    assert small.kinds().count("SwingClamp") == 1
    assert [kind(small.network, user) for user in small.node("add").users] == ["SwingClamp"]
    assert read_by(small, small.node("relu")) == ["SwingClamp"]
    assert read_by(small, small.node("cat")) == ["relu", "SwingClamp"]


def test_a_digital_sum_has_no_swing() -> None:
    small = bordered(lambda a, b, x: a(x) + x)
    assert small.kinds() == ["InputDac", "Linear", "OutputAdc", "add"]


def test_a_value_that_is_an_output_and_read_digitally_has_both_ways_out() -> None:
    small = bordered(lambda a, b, x: torch.cat([F.gelu(v := a(x)), v]))
    assert read_by(small, small.node("cat")) == ["gelu", "OutputAdc"]
    small = Small(Pair(), X)
    small.borders()
    assert sorted(read_by(small, small.node("output"))) == ["OutputRescale", "gelu"]
    assert read_by(small, small.node("gelu")) == ["OutputAdc"]


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        v = self.a(x)
        return v, F.gelu(v)


def test_a_digital_sum_of_tiles_passes_no_adc_and_drives_the_next_layer_through_a_dac() -> None:
    small = bordered(lambda a, b, x: b(F.relu(a(x))), **{"array.rows": 3, "partial_sums": "adc"})
    first = ["InputDac", "Linear", "OutputRescale", "relu"]
    assert small.kinds() == [*first, "InputDac", "Linear", "OutputRescale"]
    direct = bordered(lambda a, b, x: b(a(x)), **{"array.rows": 3, "partial_sums": "adc"})
    assert direct.kinds() == ["InputDac", "Linear", "OutputRescale", "InputDac", "Linear", "OutputRescale"]


def test_a_digital_sum_of_tiles_is_rescaled_once_for_all_that_read_it() -> None:
    small = bordered(lambda a, b, x: F.silu(v := a(x)) * F.gelu(v), **{"array.rows": 3, "partial_sums": "adc"})
    assert small.kinds().count("OutputRescale") == 1
