"""Checks of a graph that was read from a file, before anything of it is run.

Each node reads only nodes in front of it, so that no graph has a cycle; layers and tensors are there, scales are
positive; and numbers, texts and nests are of a size that a network can mean. That each node has the arguments of its
kind is seen when it is decoded (`hrat.circuit.as_json`).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from hrat.circuit.as_json import wrong
from hrat.circuit.nodes import Converter, Input, Node, OpNode, Output, Recurrence, Ref, TensorKey, layer_of
from hrat.circuit.operations import MOST_VALUES, OPS, Op
from hrat.circuit.recurrence import CELLS
from hrat.errors import ArtifactError
from hrat.names import check_name

__all__ = ["check_graph"]

DEEPEST = 16
"""Most levels of nesting in the arguments of one node."""
LONGEST_TEXT = 1_000
"""Most characters of a text among the arguments, such as an `einsum` equation."""

Tensors = Mapping[str, Tensor]


def check_graph(graph: Sequence[Node], layers: Collection[str], tensors: Tensors) -> None:
    """Refuse an invalid graph.

    Args:
        graph: the nodes in their order.
        layers: names of the existing layers.
        tensors: the existing tensors by their keys in the graph.

    Raises:
        ArtifactError: the graph is invalid; names the node and what was expected of it.
    """
    _check_tensors(tensors)
    names_before: set[str] = set()
    arguments: set[str] = set()
    for node in graph:
        check_name(node.name, "a node of the graph", error=ArtifactError)
        if node.name in names_before:
            raise ArtifactError(f"two nodes of the graph are named '{node.name}'; expected each name once")
        _check_values(node, names_before, tensors)
        _check_parts(node, layers, tensors)
        if isinstance(node, Input):
            check_name(node.argument, "an argument of the network", error=ArtifactError)
            if node.argument in arguments:
                raise _wrong(node, f"the argument '{node.argument}' once", "it twice")
            arguments.add(node.argument)
        names_before.add(node.name)
    outputs = [node for node in graph if isinstance(node, Output)]
    if len(outputs) != 1 or outputs[0] is not graph[-1]:
        raise ArtifactError(f"the graph has {len(outputs)} output(s); expected one, and that as its last node")
    if not arguments:
        raise ArtifactError("the graph has no input; expected at least one")


def _check_tensors(tensors: Tensors) -> None:
    for key, value in tensors.items():
        check_name(key, "a tensor of the graph", error=ArtifactError)
        if value.dtype not in _NUMBERS:
            raise ArtifactError(f"the graph's tensor '{key}' holds {value.dtype}; expected one of {_NUMBER_WORDS}")
        if value.is_floating_point() and bool(value.isnan().any()):
            raise ArtifactError(f"the graph's tensor '{key}' has values that are not a number (NaN)")


_NUMBERS = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)
_NUMBER_WORDS = ", ".join(str(dtype).removeprefix("torch.") for dtype in _NUMBERS)


def _check_values(node: Node, names_before: set[str], tensors: Tensors) -> None:
    values = tuple(getattr(node, part.name) for part in fields(node) if part.name != "name")
    for count, (value, depth) in enumerate(_leaves(values, 0), start=1):
        if depth > DEEPEST or count > MOST_VALUES:
            raise _wrong(node, f"at most {MOST_VALUES:,} values, nested {DEEPEST} deep", "more")
        if isinstance(value, Ref) and value.name not in names_before:
            raise _wrong(node, "the names of nodes in front of it", repr(value.name))
        if isinstance(value, TensorKey) and value.key not in tensors:
            raise _wrong(node, "tensors that the file holds", repr(value.key))
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            raise _wrong(node, f"texts of at most {LONGEST_TEXT:,} characters", f"one of {len(value):,}")
        if isinstance(value, float) and math.isnan(value):
            raise _wrong(node, "numbers", "NaN")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise _wrong(node, "whole numbers of 64 bits", f"one of {value.bit_length()} bits")
    if isinstance(node, OpNode):
        _check_arguments(node)


def _check_arguments(node: OpNode) -> None:
    """Refuse what would overwrite the result of another node, which others read too, on this chip or the next one."""
    for key, value in node.kwargs:
        if not key.isidentifier():
            raise _wrong(node, "names of arguments", repr(key))
        if key == "out" or (key == "inplace" and value is not False):
            raise _wrong(node, "an operation that overwrites nothing", f"the argument {key}")
    op = OPS.get(node.operation)
    place = None if op is None else _place_of_inplace(op)
    if place is not None and place < len(node.args) and node.args[place] is not False:
        raise _wrong(node, "an operation that overwrites nothing", f"{node.args[place]!r} for the argument inplace")


def _place_of_inplace(op: Op) -> int | None:
    """Position of the argument that asks a function to overwrite its input; None where it has none."""
    try:
        names = list(inspect.signature(op.function).parameters)
    except (TypeError, ValueError):  # built in
        return None
    return names.index("inplace") if "inplace" in names else None


def _leaves(value: Any, depth: int) -> Iterator[tuple[Any, int]]:
    """All values of nested tuples, lists, dicts and slices, each with its depth."""
    if depth > DEEPEST:
        yield value, depth
        return
    if isinstance(value, tuple | list):
        parts: Sequence[Any] = value
    elif isinstance(value, dict):
        parts = [*value, *value.values()]
    elif isinstance(value, slice):
        parts = (value.start, value.stop, value.step)
    else:
        yield value, depth
        return
    for part in parts:
        yield from _leaves(part, depth + 1)


def _check_parts(node: Node, layers: Collection[str], tensors: Tensors) -> None:
    """Check that the node's layers and scales exist."""
    layer = layer_of(node)
    if layer is not None and layer not in layers:
        raise _wrong(node, f"one of the layers {', '.join(sorted(layers)) or '(there is none)'}", repr(layer))
    if isinstance(node, Converter):
        _check_scale(node, node.alpha, tensors)
    if isinstance(node, Recurrence):
        cell = CELLS.get(node.kind)
        if cell is None:
            raise _wrong(node, f"a kind of cell: {', '.join(CELLS)}", repr(node.kind))
        if len(node.states) != cell.states:
            raise _wrong(node, f"{cell.states} state(s), each a value or none", repr(node.states))
        _check_scale(node, node.alpha_state, tensors)
        _check_scale(node, node.alpha_product, tensors)


def _check_scale(node: Node, key: TensorKey, tensors: Tensors) -> None:
    """Check that a scale is a positive number, or one for each channel."""
    alpha_V = tensors[key.key]
    if not alpha_V.is_floating_point() or not alpha_V.numel():
        raise _wrong(node, "a scale of at least one real number", f"{alpha_V.dtype} of shape {tuple(alpha_V.shape)}")
    if not bool((alpha_V.isfinite() & (alpha_V > 0)).all()):
        raise _wrong(node, "a scale that is positive and finite", f"'{key.key}', which is not")


def _wrong(node: Node, expected: str, got: str) -> ArtifactError:
    return wrong(node.name, node.op, expected, got)
