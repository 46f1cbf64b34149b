"""Pass 6: the circuit that the prepared model carries, and where it finds each number."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hrat
from conversion.small import SPEC, Small
from hrat.circuit import (
    Adc,
    ClampSwing,
    Constant,
    Crossbar,
    Dac,
    Input,
    LayerCall,
    OpNode,
    Output,
    OutputRescale,
    Recurrence,
    Ref,
    ScaleRef,
    TensorKey,
    TensorRef,
)
from hrat.conversion.written_out import write_out
from hrat.nn import tensor_value

X = torch.randn(3, 4)


class Shortcut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor, gain: float = 2.0) -> Tensor:
        return self.a(x) + self.b(x)


def test_each_part_is_a_node_of_its_kind() -> None:
    assert Small(Shortcut(), X).emitted().nodes == (
        Input("x", "x"),
        Dac("x_dac", Ref("x"), TensorKey("scale.x_dac")),
        Crossbar("a", Ref("x_dac"), "a"),
        Crossbar("b", Ref("x_dac"), "b"),
        OpNode("add", "add", (Ref("a"), Ref("b"))),
        ClampSwing("add_swing", Ref("add")),
        OutputRescale("add_swing_reader", Ref("add_swing"), TensorKey("scale.add_swing_reader")),
        Output("output", Ref("add_swing_reader")),
    )


def test_calls_have_the_scales_that_the_model_gives_them() -> None:
    circuit = Small(Shortcut(), X).emitted()
    entering, met = ScaleRef("scales.x_dac"), ScaleRef("scales.a")
    assert circuit.calls == (LayerCall("a", "a", "a", entering, met), LayerCall("b", "b", "b", entering, met))
    assert circuit.tensors == {"scale.x_dac": entering, "scale.add_swing_reader": met}


def test_dropout_has_no_part_in_it() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.Dropout(), nn.Linear(4, 2))
    nodes = Small(model, X).emitted().nodes
    assert [type(node) for node in nodes] == [Input, Dac, Crossbar, Crossbar, OutputRescale, Output]
    assert nodes[3] == Crossbar("_3", Ref("_0"), "3")


class WithNumbers(nn.Module):
    """Digital operations with numbers of the network: a parameter, a buffer, and the statistics of a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False, eps=1e-3)
        self.gain = nn.Parameter(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        self.register_buffer("shift", torch.tensor([0.5, 0.25, 0.0, 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(F.gelu(self.a(x)) * self.gain + self.shift)


def test_numbers_of_the_network_are_named_by_their_places() -> None:
    circuit = Small(WithNumbers(), X).emitted()
    nodes = {node.name: node for node in circuit.nodes}
    assert nodes["gain"] == Constant("gain", TensorKey("gain"))
    assert nodes["a_adc"] == Adc("a_adc", Ref("a"), TensorKey("scale.a_adc"))
    statistics = (TensorKey("norm.running_mean"), TensorKey("norm.running_var"), None, None)
    assert nodes["norm"] == OpNode(
        "norm", "batch_norm", (Ref("add"), *statistics), (("training", False), ("eps", 1e-3))
    )
    assert circuit.tensors == {
        "scale.x_dac": ScaleRef("scales.x_dac"),
        "scale.a_adc": ScaleRef("scales.a"),
        "gain": TensorRef("gain"),
        "shift": TensorRef("shift"),
        "norm.running_mean": TensorRef("norm.batch_norm.running_mean"),
        "norm.running_var": TensorRef("norm.batch_norm.running_var"),
    }


def test_a_deployment_has_the_numbers_that_stand_there_now() -> None:
    prepared = hrat.prepare(WithNumbers().eval(), SPEC, X)
    with torch.no_grad():
        prepared.graph.gain.mul_(3)
        prepared.graph.norm.batch_norm.running_mean.add_(1)
        prepared.graph.scales.a.set(0.125)
    tensors = hrat.deploy(prepared).tensors
    assert torch.equal(tensors["gain"], torch.tensor([3.0, 6.0, 9.0, 12.0]))
    assert torch.equal(tensors["norm.running_mean"], torch.ones(4))
    assert torch.equal(tensors["shift"], torch.tensor([0.5, 0.25, 0.0, 1.0]))
    assert torch.equal(tensors["scale.a_adc"], torch.tensor(0.125))


def test_a_copy_has_its_own_numbers_behind_the_same_circuit() -> None:
    prepared = hrat.prepare(WithNumbers().eval(), SPEC, X)
    other = copy.deepcopy(prepared).double()
    assert other.circuit == prepared.circuit
    with torch.no_grad():
        other.graph.gain.zero_()
    assert not hrat.deploy(other).tensors["gain"].any()
    assert hrat.deploy(prepared).tensors["gain"].all()
    assert hrat.deploy(other).tensors["gain"].dtype == torch.float64


def test_arguments_by_name_stand_in_their_places() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(0.25))
    nodes = {node.name: node for node in Small(model, X).emitted().nodes}
    node = nodes["leaky_relu"]
    assert isinstance(node, OpNode)
    assert node.args == (Ref("_0"), 0.25, False)
    assert not node.kwargs


def test_behind_a_flatten_a_scale_is_repeated() -> None:
    model = nn.Sequential(nn.Conv2d(2, 5, 1), nn.Flatten(), nn.Linear(80, 3)).eval()
    prepared = hrat.prepare(model, SPEC, torch.randn(3, 2, 4, 4), scales="channel")
    behind = prepared.circuit.first_calls()["2"]
    assert behind.alpha_in == ScaleRef("scales.0", 16)
    with torch.no_grad():
        prepared.graph.scales.get_submodule("0").set(torch.arange(1.0, 6.0))
        alpha = tensor_value(prepared, behind.alpha_in)
    torch.testing.assert_close(alpha, torch.arange(1.0, 6.0).repeat_interleave(16))


def test_a_recurrence_is_a_node_with_two_scales() -> None:
    circuit = Small(write_out(nn.GRU(4, 3)), torch.randn(5, 2, 4)).emitted()
    (node,) = (node for node in circuit.nodes if isinstance(node, Recurrence))
    call = circuit.first_calls()[node.layer]
    assert (call.node, call.layer) == (node.name, f"{call.module}.product")
    assert (node.kind, node.states, node.time_dim, node.reverse) == ("gru", (None,), 0, False)
    assert circuit.tensors[node.alpha_state.key] == call.alpha_in
    assert circuit.tensors[node.alpha_product.key] == call.alpha_out
    assert call.alpha_in.scale.endswith("_state")
    assert call.alpha_out.scale.endswith("_product")


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(F.gelu(self.a(x)))


def test_a_layer_that_is_called_twice_is_two_nodes_and_one_layer() -> None:
    circuit = Small(Twice(), X).emitted()
    assert [(call.node, call.layer) for call in circuit.calls] == [("a", "a"), ("a_1", "a")]
    assert circuit.first_calls() == {"a": circuit.calls[0]}
    assert len(hrat.deploy(hrat.prepare(Twice().eval(), SPEC, X)).layers) == 1
