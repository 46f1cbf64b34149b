"""What must hold of a graph that was read from a file, before anything of it is run.

Each node names an operation that there is and reads only nodes in front of it, so that no graph has a cycle; the
borders between volts and digital numbers have the arguments that the solvers rely on; and numbers, texts and nests are
of a size that a network can mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hrat.artifacts.graph import OpNode, Ref, TensorKey
from hrat.artifacts.ops import MOST_VALUES, OPS
from hrat.artifacts.recurrence import CELLS
from hrat.errors import ArtifactError
from hrat.names import check_name

__all__ = ["check_graph"]

DEEPEST = 16
"""Nests within nests of the arguments of one node."""
LONGEST_TEXT = 1_000
"""Characters of a text among the arguments, such as an `einsum` equation."""

Tensors = Mapping[str, Tensor]


def check_graph(graph: Sequence[OpNode], layers: Collection[str], tensors: Tensors) -> None:
    """Refuse a graph that is none.

    Args:
        graph: the nodes in their order.
        layers: names of the layers that there are.
        tensors: by the keys that the graph names.

    Raises:
        ArtifactError: it is no graph of a network, with the node and what was expected of it.
    """
    _check_tensors(tensors)
    known: set[str] = set()
    arguments: set[Any] = set()
    for node in graph:
        check_name(node.name, "a node of the graph", error=ArtifactError)
        if node.name in known:
            raise ArtifactError(f"two nodes of the graph are named '{node.name}'; expected each name once")
        _check_arguments(node, known, tensors)
        border = _BORDERS.get(node.op)
        if border is not None:
            border(node, layers, tensors)
        elif OPS[node.op].analog and not node.args:
            raise _wrong(node, "a signal in front of other arguments", "no arguments")
        if node.op == "input":
            if node.args[0] in arguments:
                raise _wrong(node, f"the argument '{node.args[0]}' once", "it twice")
            arguments.add(node.args[0])
        known.add(node.name)
    outputs = [node.name for node in graph if node.op == "output"]
    if len(outputs) != 1 or graph[-1].op != "output":
        raise ArtifactError(f"the graph has {len(outputs)} output(s); expected one, and that as its last node")
    if not arguments:
        raise ArtifactError("the graph has no input; expected at least one")


def _check_tensors(tensors: Tensors) -> None:
    for key, value in tensors.items():
        check_name(key, "a tensor of the graph", error=ArtifactError)
        if value.is_complex() or value.dtype not in _NUMBERS:
            raise ArtifactError(f"the graph's tensor '{key}' holds {value.dtype}; expected one of {_NUMBER_WORDS}")
        if value.is_floating_point() and bool(value.isnan().any()):
            raise ArtifactError(f"the graph's tensor '{key}' has values that are not a number (NaN)")


_NUMBERS = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)
_NUMBER_WORDS = ", ".join(str(dtype).removeprefix("torch.") for dtype in _NUMBERS)


def _check_arguments(node: OpNode, known: set[str], tensors: Tensors) -> None:
    for count, (value, depth) in enumerate(_leaves((node.args, dict(node.kwargs)), 0), start=1):
        if depth > DEEPEST or count > MOST_VALUES:
            raise _wrong(node, f"at most {MOST_VALUES:,} values, nested {DEEPEST} deep", "more")
        if isinstance(value, Ref) and value.name not in known:
            raise _wrong(node, "the names of nodes in front of it", repr(value.name))
        if isinstance(value, TensorKey) and value.key not in tensors:
            raise _wrong(node, "tensors that the file holds", repr(value.key))
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            raise _wrong(node, f"texts of at most {LONGEST_TEXT:,} characters", f"one of {len(value):,}")
        if isinstance(value, float) and math.isnan(value):
            raise _wrong(node, "numbers", "NaN")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise _wrong(node, "whole numbers of 64 bits", f"one of {value.bit_length()} bits")
    for key, _ in node.kwargs:
        if not key.isidentifier():
            raise _wrong(node, "names of arguments", repr(key))


def _leaves(value: Any, depth: int) -> Iterator[tuple[Any, int]]:
    """All values of nested tuples, lists, dicts and slices, each with its depth; nests are given too, empty or not."""
    if depth > DEEPEST:
        yield value, depth
        return
    if isinstance(value, tuple | list):
        parts: Sequence[Any] = value
    elif isinstance(value, dict):
        parts = list(value.values())
    elif isinstance(value, slice):
        parts = (value.start, value.stop, value.step)
    else:
        yield value, depth
        return
    for part in parts:
        yield from _leaves(part, depth + 1)


# ---- the borders between volts and digital numbers -------------------------------------------------------------------


def _input(node: OpNode, layers: Collection[str], tensors: Tensors) -> None:
    if not 1 <= len(node.args) <= 2 or not isinstance(node.args[0], str) or node.kwargs:
        raise _wrong(node, "the name of an argument, and its default if it has one", repr(node.args))
    check_name(node.args[0], "an argument of the network", error=ArtifactError)


def _constant(node: OpNode, layers: Collection[str], tensors: Tensors) -> None:
    if len(node.args) != 1 or not isinstance(node.args[0], TensorKey) or node.kwargs:
        raise _wrong(node, "one tensor", repr(node.args))


def _converter(node: OpNode, layers: Collection[str], tensors: Tensors) -> None:
    """`dac`, `adc` and `reader`."""
    if len(node.args) != 2 or not isinstance(node.args[0], Ref) or node.kwargs:
        raise _wrong(node, "a value and a scale", repr(node.args))
    _scale(node, node.args[1], tensors)


def _scale(node: OpNode, key: Any, tensors: Tensors) -> None:
    """A scale is a positive number, or one for each channel."""
    if not isinstance(key, TensorKey):
        raise _wrong(node, "a tensor as its scale", repr(key))
    alpha_V = tensors[key.key]
    if not alpha_V.is_floating_point() or not alpha_V.numel():
        raise _wrong(node, "a scale of at least one real number", f"{alpha_V.dtype} of shape {tuple(alpha_V.shape)}")
    if not bool((alpha_V.isfinite() & (alpha_V > 0)).all()):
        raise _wrong(node, "a scale that is positive and finite", f"'{key.key}', which is not")


def _crossbar(node: OpNode, layers: Collection[str], tensors: Tensors) -> None:
    if len(node.args) != 2 or not isinstance(node.args[0], Ref) or node.kwargs:
        raise _wrong(node, "a voltage and a layer", repr(node.args))
    _layer(node, node.args[1], layers)


def _layer(node: OpNode, name: Any, layers: Collection[str]) -> None:
    if not isinstance(name, str) or name not in layers:
        raise _wrong(node, f"one of the layers {', '.join(sorted(layers)) or '(there is none)'}", repr(name))


def _clamp_swing(node: OpNode, layers: Collection[str], tensors: Tensors) -> None:
    if len(node.args) != 1 or not isinstance(node.args[0], Ref) or node.kwargs:
        raise _wrong(node, "one voltage", repr(node.args))


def _recurrence(node: OpNode, layers: Collection[str], tensors: Tensors) -> None:
    how = dict(node.kwargs)
    if len(node.args) != 5 or not isinstance(node.args[0], Ref) or how.keys() != {"kind", "time_dim", "reverse"}:
        raise _wrong(node, "a value, states, a layer, two scales, and kind, time_dim and reverse", repr(node.args))
    _, states, layer, alpha_in, alpha_out = node.args
    cell = CELLS.get(how["kind"]) if isinstance(how["kind"], str) else None
    if cell is None:
        raise _wrong(node, f"a kind of cell: {', '.join(CELLS)}", repr(how["kind"]))
    if how["time_dim"] not in (0, 1) or not isinstance(how["reverse"], bool):
        raise _wrong(node, "time_dim 0 or 1, and reverse true or false", f"{how['time_dim']!r} and {how['reverse']!r}")
    is_list = isinstance(states, tuple | list) and all(state is None or isinstance(state, Ref) for state in states)
    if not is_list or len(states) != cell.states:
        raise _wrong(node, f"{cell.states} state(s), each a value or none", repr(states))
    _layer(node, layer, layers)
    _scale(node, alpha_in, tensors)
    _scale(node, alpha_out, tensors)


def _output(node: OpNode, layers: Collection[str], tensors: Tensors) -> None:
    if len(node.args) != 1 or node.kwargs:
        raise _wrong(node, "one value, or a nest of them", repr(node.args))


_BORDERS: dict[str, Callable[[OpNode, Collection[str], Tensors], None]] = {
    "input": _input,
    "constant": _constant,
    "dac": _converter,
    "adc": _converter,
    "reader": _converter,
    "crossbar": _crossbar,
    "clamp_swing": _clamp_swing,
    "recurrence": _recurrence,
    "output": _output,
}


def _wrong(node: OpNode, expected: str, got: str) -> ArtifactError:
    shown = got if len(got) <= 200 else f"{got[:200]} ..."
    return ArtifactError(f"node '{node.name}' ({node.op}) of the graph: expected {expected}, got {shown}")
