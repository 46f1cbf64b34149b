"""The circuit of a model that is still being trained: the graph of its chip, and where the model has each number.

Parts of the model are named by their paths, as `nn.Module.get_submodule` takes them, so that this is plain data: a copy
of the model, or one that was moved to another device, has the same circuit.
"""

from __future__ import annotations

from dataclasses import dataclass

from hrat.circuit.nodes import Node

__all__ = ["LayerCall", "ModelCircuit", "ScaleRef", "TensorRef"]


@dataclass(frozen=True)
class ScaleRef:
    """The value of a learned scale of the model."""

    scale: str
    """Path of the module that holds the scale."""
    repeats: int = 1
    """How often each value stands in a row: behind a flatten a channel is a run of positions."""
    factor: float = 1.0
    """What it is multiplied by: a signal times a number is the same voltage, by another scale."""


@dataclass(frozen=True)
class TensorRef:
    """A tensor of the model as it is: a parameter, a buffer, or an attribute that is neither."""

    path: str


@dataclass(frozen=True)
class LayerCall:
    """A call of a layer on crossbars, and the scales of the signals that enter and leave there."""

    node: str
    """The node of the circuit that makes the call."""
    module: str
    """Path of the module that the model calls: the layer, or the recurrence around it."""
    layer: str
    """Path of the layer, which is its name in the circuit."""
    alpha_in: ScaleRef
    alpha_out: ScaleRef


@dataclass(frozen=True)
class ModelCircuit:
    """The graph of the chip that a model trains for, with the origin of all that a deployment adds to it."""

    nodes: tuple[Node, ...]
    """The graph, with keys in the place of tensors."""
    calls: tuple[LayerCall, ...]
    """Calls of layers, in the order of the nodes."""
    tensors: dict[str, ScaleRef | TensorRef]
    """What the model has for each key of a tensor in the graph."""

    def first_calls(self) -> dict[str, LayerCall]:
        """Layers by name in the order of their calls, each with its first one."""
        first: dict[str, LayerCall] = {}
        for call in self.calls:
            first.setdefault(call.layer, call)
        return first
