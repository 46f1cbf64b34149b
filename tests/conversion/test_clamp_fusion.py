"""The last pass: which limits the layers apply themselves, in the graph that trains and in the circuit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hrat
from conversion.small import SPEC, Small
from hrat.circuit import Crossbar, OpNode, Ref
from hrat.nn import CrossbarLayer

X = torch.randn(3, 4)
Forward = Callable[..., Tensor]


class Layers(nn.Module):
    """Square linear layers a, b and c, dropout, and a forward pass that is given."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.a, self.b, self.c, self.steps = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), forward
        self.drop = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(self, x)


def fused(forward: Forward) -> tuple[Small, dict[str, set[str]]]:
    """Keywords of each layer's call."""
    small = Small(Layers(forward), X)
    small.circuit = small.fused()  # type: ignore[attr-defined]
    return small, {node.name: set(node.kwargs) for node in small.network.calls_of(CrossbarLayer)}


FROM_DAC = {"digital", "within_read"}


@pytest.mark.parametrize(
    ("forward", "of_a", "of_b"),
    [
        (lambda m, x: m.b(m.a(x)), {"drives_word_lines"}, {"within_read"}),
        (lambda m, x: m.b(F.relu(m.a(x))), {"rectifies", "drives_word_lines"}, {"within_read"}),
        (lambda m, x: m.b(F.relu(m.a(x).reshape(3, 4))), {"drives_word_lines"}, {"within_read"}),
        (
            lambda m, x: m.b((v := F.relu(m.a(x))).reshape(v.size(0), 4)),
            {"rectifies", "drives_word_lines"},
            {"within_read"},
        ),
        (lambda m, x: m.b(F.relu(m.a(x)).mean(1, keepdim=True).expand(3, 4)), {"rectifies"}, set()),
        (lambda m, x: m.b(F.leaky_relu(m.a(x))), set(), set()),
        (lambda m, x: m.b(m.drop(F.relu(m.a(x)))), {"rectifies"}, set()),
        (lambda m, x: m.b(F.relu(m.drop(m.a(x)))), set(), set()),
        (lambda m, x: m.b(v := F.relu(m.a(x))) + v, {"rectifies"}, set()),
        (lambda m, x: m.b(F.relu(v := m.a(x))) + v, set(), set()),
        (lambda m, x: m.b(v := F.relu(m.a(x))) + m.c(v), {"rectifies", "drives_word_lines"}, {"within_read"}),
        (lambda m, x: m.b(F.relu(v := m.a(x))) + m.c(v), {"drives_word_lines"}, {"within_read"}),
        (lambda m, x: m.b(v := m.a(x)) + m.c(m.drop(v)), set(), set()),
        (lambda m, x: m.b(F.relu(m.a(x) + m.c(x))), set(), set()),
        (lambda m, x: m.b(F.gelu(m.a(x))), set(), FROM_DAC),
    ],
)
def test_a_layer_takes_limits_that_nobody_else_would_notice(forward: Forward, of_a: set[str], of_b: set[str]) -> None:
    _, found = fused(forward)
    assert found["a"] == of_a | FROM_DAC
    assert found["b"] == of_b


def test_all_readers_of_a_dac_know_its_digital_values() -> None:
    small, found = fused(lambda m, x: m.a(x) + m.b(x))
    assert found == {"a": FROM_DAC, "b": FROM_DAC}
    assert all(small.node(name).kwargs["digital"] is small.node("x") for name in "ab")


def test_a_rectifier_that_is_taken_leaves_the_graph_that_trains_and_follows_its_layer_in_the_circuit() -> None:
    small, _ = fused(lambda m, x: torch.cat([F.relu(m.a(x)), F.relu(m.b(x) + m.c(x))]))
    assert small.kinds().count("Rectifier") == 1  # the one behind the sum, on a wire as well
    assert "relu" not in small.kinds()
    nodes = small.circuit.nodes  # type: ignore[attr-defined]
    place = next(k for k, node in enumerate(nodes) if isinstance(node, Crossbar) and node.layer == "a")
    assert nodes[place + 1] == OpNode("a.relu", "relu", (Ref("a"),))
    assert next(node for node in nodes if node.name == "cat").inputs() == ["a.relu", "relu_1"]
    assert "relu" not in {node.name for node in nodes}


@pytest.mark.parametrize("training", [True, False])
def test_one_clamp_in_place_of_three_gives_the_same_values_and_gradients(training: bool) -> None:
    model = Layers(lambda m, x: m.c(F.relu(m.b(v := F.relu(m.a(x)))) + v)).double().eval()
    x = 10 * X.double()
    prepared = hrat.prepare(model, SPEC.without("error"), x)
    prepared.train(training)

    def step() -> list[Tensor]:
        prepared.zero_grad()
        out = prepared(x)
        out.square().sum().backward()
        return [out.detach(), *(p.grad.clone() for p in prepared.parameters() if p.grad is not None)]

    together = step()
    for node in prepared.graph.graph.nodes:
        node.kwargs = {key: value for key, value in node.kwargs.items() if key in ("digital", "rectifies")}
    prepared.graph.recompile()
    for a, b in zip(together, step(), strict=True):
        assert torch.equal(a, b)
