"""Pass 6: the converted graph as typed nodes, with the places of all numbers that a deployment adds to them.

From here on nobody has to know how torch.fx writes a graph. What has done its part is left out: scales are in the
weights of layers, one error for several calls is a matter of training, and dropout does nothing in eval mode.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import fx

from hrat.circuit import (
    Adc,
    ClampSwing,
    Constant,
    Crossbar,
    Dac,
    Input,
    LayerCall,
    ModelCircuit,
    Node,
    OpNode,
    Output,
    OutputRescale,
    Recurrence,
    Ref,
    ScaleRef,
    TensorKey,
    TensorRef,
    map_nested,
    op_of,
)
from hrat.conversion.network import Network
from hrat.nn import (
    CrossbarLayer,
    CrossbarRecurrence,
    DigitalBatchNorm,
    GradientStop,
    InputDac,
    OutputAdc,
    Scale,
    SharedError,
    SwingClamp,
    is_dropout,
)
from hrat.nn import OutputRescale as OutputRescaleModule

__all__ = ["emit_circuit"]

_CONVERTERS = {InputDac: Dac, OutputAdc: Adc, OutputRescaleModule: OutputRescale}


def emit_circuit(network: Network) -> ModelCircuit:
    """The circuit of a network whose layers are built; nodes keep their names."""
    emitter = _Emitter(network)
    nodes = [node for node in map(emitter.node, network.graph.nodes) if node is not None]
    return ModelCircuit(tuple(nodes), tuple(emitter.calls), emitter.tensors)


class _Emitter:
    """Turns each node of a network into one of the circuit's."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.calls: list[LayerCall] = []
        self.tensors: dict[str, ScaleRef | TensorRef] = {}
        self.dropped: dict[str, Ref] = {}
        """Nodes that vanish -> the value that they pass on."""

    def node(self, node: fx.Node) -> Node | None:
        """The node of the circuit, or None for one that has no part in it."""
        match node.op:
            case "placeholder":
                return Input(node.name, str(node.target), self._values(node.args))
            case "get_attr":
                return Constant(node.name, self._keep(str(node.target), TensorRef(str(node.target))))
            case "output":
                return Output(node.name, *self._values(node.args))
            case "call_module":
                return self._module(node)
        if node.target in (torch.repeat_interleave, torch.mul):
            return None  # a scale spread over positions, or times a number: part of the layers' weights by now
        op = op_of(node.target)
        assert op is not None  # tracing refuses all others
        if op.name in ("identity", "detach"):
            return OpNode(node.name, "identity", self._values(node.args[:1]))
        return OpNode(node.name, op.name, self._values(node.args), tuple(self._values(dict(node.kwargs)).items()))

    def _module(self, node: fx.Node) -> Node | None:
        module = self.network.module_at(node)
        if isinstance(module, Scale | SharedError):
            return None
        source = self._values(node.args[0])
        if isinstance(module, CrossbarLayer):
            self._call(node, str(node.target), *node.args[1:3])
            return Crossbar(node.name, source, str(node.target))
        if isinstance(module, CrossbarRecurrence):
            return self._recurrence(node, module)
        if isinstance(module, GradientStop):
            return OpNode(node.name, "identity", (source,))
        if isinstance(module, SwingClamp):
            return ClampSwing(node.name, source)
        if isinstance(module, DigitalBatchNorm):
            return self._batch_norm(node, module)
        if is_dropout(module):
            self.dropped[node.name] = source
            return None
        return _CONVERTERS[type(module)](node.name, source, self._keep(f"scale.{node.name}", _scale_ref(node.args[1])))

    def _call(self, node: fx.Node, layer: str, alpha_in: Any, alpha_out: Any) -> LayerCall:
        self.calls.append(LayerCall(node.name, str(node.target), layer, _scale_ref(alpha_in), _scale_ref(alpha_out)))
        return self.calls[-1]

    def _recurrence(self, node: fx.Node, loop: CrossbarRecurrence) -> Node:
        source, states = self._values(node.args[:2])
        call = self._call(node, f"{node.target}.product", *node.args[2:4])
        return Recurrence(
            name=node.name,
            source=source,
            states=tuple(states),
            layer=call.layer,
            alpha_state=self._keep(f"scale.{node.name}.state", call.alpha_in),
            alpha_product=self._keep(f"scale.{node.name}.product", call.alpha_out),
            kind=loop.kind,
            time_dim=loop.time_dim,
            reverse=loop.reverse,
        )

    def _batch_norm(self, node: fx.Node, module: DigitalBatchNorm) -> OpNode:
        bn = module.batch_norm
        args = [
            None
            if getattr(bn, part) is None
            else self._keep(f"{node.target}.{part}", TensorRef(f"{node.target}.batch_norm.{part}"))
            for part in ("running_mean", "running_var", "weight", "bias")
        ]
        return OpNode(
            node.name, "batch_norm", (*self._values(node.args), *args), (("training", False), ("eps", bn.eps))
        )

    def _keep(self, key: str, origin: ScaleRef | TensorRef) -> TensorKey:
        self.tensors[key] = origin
        return TensorKey(key)

    def _values(self, nested: Any) -> Any:
        def change(value: Any) -> Any:
            return self.dropped.get(value.name, Ref(value.name)) if isinstance(value, fx.Node) else value

        return map_nested(_plain(nested), change)


def _scale_ref(node: Any) -> ScaleRef:
    """The scale that a node yields: one of the model, times a number, or repeated for a flatten, or both."""
    node = cast(fx.Node, node)
    if node.op != "call_function":
        return ScaleRef(str(node.target))
    source, number = node.args
    if node.target is torch.mul:
        return replace(_scale_ref(source), factor=cast(float, number))
    return replace(_scale_ref(source), repeats=cast(int, number))


def _plain(value: Any) -> Any:
    """Nested arguments in Python's own types: fx has immutable ones for lists and dicts."""
    if isinstance(value, tuple):
        return tuple(_plain(part) for part in value)
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return value
