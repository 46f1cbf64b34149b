"""The plan of a chip's graph: fewer clamps, in place; the same values."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import hrat
from hrat.circuit import Input, OpNode, Output, Plan, PlannedNode, Ref, Within, input_names, make_plan
from hrat.circuit.clamps import _in_common
from hrat.errors import ArtifactError
from hrat.simulation import ChipSolver
from hrat.spec import HardwareSpec
from laws.networks import NETWORKS, SPECS, network

SPEC = HardwareSpec().only("read_voltage", "swing").replace(v_read_V=0.3, v_swing_V=0.8)


def two_chips(name: str, spec: str) -> tuple[hrat.ProgrammedChip, dict[str, Any]]:
    """Chips, and inputs by name."""
    model, x = network(name)
    chips = hrat.program(hrat.deploy(hrat.prepare(model, SPECS[spec], x)), chips=2)
    names = input_names(chips.deployment.graph)
    inputs = x if isinstance(x, dict) else dict(zip(names, x if isinstance(x, tuple) else (x,), strict=False))
    return chips, inputs


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("spec", ["harsh", "wan2022 two-stage", "error only"])
def test_merged_clamps_give_the_same_values_to_the_last_bit(name: str, spec: str) -> None:
    """Recording has every clamp in its place, nothing overwritten: what is not recorded has to equal that."""
    chips, inputs = two_chips(name, spec)
    solver = ChipSolver(chips)
    before = [leaf.clone() for leaf in tree_leaves(inputs)]
    plain: dict[str, Tensor] = {}
    record = {layer: (lambda volts, layer=layer: plain.update({layer: volts})) for layer in solver.gains}
    want = tree_leaves(solver.compute(inputs, record=record))
    for _ in range(2):  # the second time finds nothing overwritten by the first
        for a, b in zip(tree_leaves(solver.compute(inputs)), want, strict=True):
            assert torch.equal(a, b)
    assert all(torch.equal(a, b) for a, b in zip(tree_leaves(inputs), before, strict=True))
    assert set(plain) == set(solver.gains)


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("spec", ["harsh", "wan2022 two-stage"])
def test_chips_together_are_chips_one_after_another(name: str, spec: str) -> None:
    """Chips that share each operation, as on a GPU."""
    chips, inputs = two_chips(name, spec)
    one_by_one, together = ChipSolver(chips), ChipSolver(chips, together=True)
    layer = next(iter(together.gains))
    seen: list[Tensor] = []
    together.compute(inputs, record={layer: seen.append})
    one_by_one.compute(inputs, record={layer: seen.append})
    torch.testing.assert_close(seen[0], seen[1], rtol=1e-12, atol=1e-12)
    for a, b in zip(tree_leaves(together.compute(inputs)), tree_leaves(one_by_one.compute(inputs)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def planned(model: nn.Module, x: Tensor, spec: HardwareSpec = SPEC) -> Plan:
    deployment = hrat.deploy(hrat.prepare(model.eval(), spec, x))
    return make_plan(deployment.graph, deployment.spec)


def summary(nodes: tuple[PlannedNode, ...]) -> list[Any]:
    """Operations in order; of clamps the interval, and `!` where the input is overwritten."""
    out: list[Any] = []
    for part in nodes:
        interval = (part.node.low, part.node.high) if isinstance(part.node, Within) else ()
        out.append((part.node.op + "!" * part.overwrites, *interval) if interval else part.node.op)
    return out


class Views(nn.Module):
    """Pooling, then a reshape that asks for the size of what it reshapes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        return self.fc(x.view(x.size(0), -1))


def test_amplifier_relu_pooling_and_word_lines_need_one_clamp() -> None:
    plan = planned(Views(), torch.randn(2, 1, 8, 8))
    assert summary(plan.for_all) == ["input", "dac", "identity"]
    clamp, swing = ("within!", 0.0, 0.3), ("within!", -0.8, 0.8)
    first = ["amplifier", clamp, "identity", "max_pool2d", "size", "reshape", "identity"]
    assert summary(plan.for_each) == [*first, "amplifier", swing, "reader", "output"]


def test_a_swing_below_the_read_threshold_is_the_limit() -> None:
    spec = SPEC.replace(v_swing_V=0.2)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
    clamps = [part for part in summary(planned(model, torch.randn(3, 4), spec).for_each) if part[0] == "within!"]
    assert clamps == [("within!", 0.0, 0.2), ("within!", -0.2, 0.2), ("within!", -0.2, 0.2)]


def test_without_restrictions_nothing_is_clamped() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    ops = summary(planned(model, torch.randn(3, 4), SPEC.ideal()).for_each)
    assert [op for op in ops if op[0] in ("within", "within!")] == [("within!", 0.0, math.inf)]


class Shortcut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        return self.c(F.relu(self.b(x) + x))


def test_a_value_with_two_readers_is_clamped_once_and_not_overwritten() -> None:
    ops = summary(planned(Shortcut(), torch.randn(3, 4)).for_each)
    first = ("within!", 0.0, 0.8)  # the shortcut sees the swing, the word lines the read threshold
    assert ops[:5] == ["amplifier", first, "identity", ("within", -0.3, 0.3), "amplifier"]
    assert ops[5:8] == [("within!", -0.8, 0.8), "add", ("within!", 0.0, 0.3)]


def test_averages_are_taken_of_what_was_clamped() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(18, 2))
    ops = summary(planned(model, torch.randn(2, 1, 8, 8)).for_each)
    assert ops[:5] == ["amplifier", ("within!", 0.0, 0.8), "identity", "avg_pool2d", "flatten"]
    assert ops[5] == ("within!", -0.3, 0.3)


def test_pooling_that_returns_places_sees_what_was_clamped() -> None:
    """Among values that a clamp made equal it is the first whose place counts."""
    for places in ({"args": (2, 2, 0, 1, False, True)}, {"kwargs": (("return_indices", True),)}):
        graph = (
            Input("x", "x"),
            OpNode("relu", "relu", (Ref("x"),)),
            OpNode("pool", "max_pool2d", (Ref("relu"), *places.get("args", (2,))), places.get("kwargs", ())),
            Output("output", Ref("pool")),
        )
        plan = make_plan(graph, SPEC)
        assert summary(plan.for_all) == ["input", ("within", 0.0, math.inf), "max_pool2d"]


def test_two_clamps_are_one() -> None:
    ends = (-math.inf, -0.8, -0.3, 0.0, 0.2, 0.8, math.inf)
    values = torch.tensor([-math.inf, -1.0, -0.8, -0.5, -0.3, -0.1, 0.0, 0.1, 0.2, 0.5, 0.8, 1.0, math.inf])
    intervals = [(low, high) for low, high in product(ends, ends) if low <= high]
    for first, then in product(intervals, intervals):
        assert torch.equal(values.clamp(*first).clamp(*then), values.clamp(*_in_common(first, then)))


def test_recorded_voltages_are_those_in_front_of_the_rectifier() -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    x = 10 * torch.randn(20, 6)
    chip = hrat.program(hrat.deploy(hrat.prepare(model.eval(), SPEC, x)))
    result = hrat.simulate(chip, x, voltages_of=["0"])
    assert float(result.voltages["0"].min()) < 0
    assert float(result.voltages["0"].abs().max()) <= 0.8
    assert set(result.voltages) == {"0"}
    assert torch.equal(result.value, hrat.simulate(chip, x).value)


def test_a_graph_without_an_output_is_refused() -> None:
    with pytest.raises(ArtifactError, match="no output"):
        make_plan((Input("x", "x"),), SPEC)
