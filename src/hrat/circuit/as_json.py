"""Nodes as JSON data and back.

A node is `{"name", "op", "args", "kwargs"}`. Arguments are JSON values; what JSON has no word for is an object of one
key that says what it is: `{"ref": name}`, `{"tensor": key}`, `{"dtype": ...}`, `{"tuple": [...]}` and so on. A dict is
`{"dict": {...}}`, or `{"items": [[key, value], ...]}` where some keys are whole numbers.

=============  ==================================
operation      arguments
=============  ==================================
`input`        name of the argument, default if it has one
`constant`     tensor
`dac`          value, tensor alpha; likewise `adc`, and `reader` (output rescaling)
`crossbar`     value, layer name
`clamp_swing`  value
`recurrence`   value, states, layer name, tensors alpha of the DAC and the ADC; kind, time_dim, reverse
`output`       value, or a nest of values
others         those of `hrat.circuit.operations`
=============  ==================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from hrat.circuit.nodes import (
    Adc,
    ClampSwing,
    Constant,
    Crossbar,
    Dac,
    Input,
    Node,
    OpNode,
    Output,
    OutputRescale,
    Recurrence,
    Ref,
    TensorKey,
)
from hrat.circuit.operations import OPS
from hrat.errors import ArtifactError

__all__ = ["decode_node", "encode_node", "wrong"]


def encode_node(node: Node) -> dict[str, Any]:
    """A node as JSON data."""
    args, kwargs = _arguments(node)
    return {
        "name": node.name,
        "op": node.op,
        "args": [_encode(arg) for arg in args],
        "kwargs": {key: _encode(value) for key, value in kwargs.items()},
    }


def _arguments(node: Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
    match node:
        case OpNode():
            return node.args, dict(node.kwargs)
        case Input():
            return (node.argument, *node.default), {}
        case Constant():
            return (node.tensor,), {}
        case Dac() | Adc() | OutputRescale():
            return (node.source, node.alpha), {}
        case Crossbar():
            return (node.source, node.layer), {}
        case ClampSwing():
            return (node.source,), {}
        case Recurrence():
            args = (node.source, node.states, node.layer, node.alpha_state, node.alpha_product)
            return args, {"kind": node.kind, "time_dim": node.time_dim, "reverse": node.reverse}
        case Output():
            return (node.value,), {}
        case _:
            raise ArtifactError(f"node '{node.name}' ({node.op}) belongs to the plan of a simulation, not to a file")


def decode_node(name: str, op: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Node:
    """Node from JSON data: the inverse of `encode_node`, from the values of its four keys.

    Raises:
        ArtifactError: this version does not know the operation, or the arguments do not fit it.
    """
    border = _BORDERS.get(op)
    if border is None and op not in OPS:
        raise ArtifactError(
            f"node '{name}' has the operation '{op}', which this version of hrat does not know; was the file written "
            "by a newer version? One of your own has to be registered first (hrat.operation)"
        )
    values = tuple(map(_decode, args))
    named = {key: _decode(value) for key, value in kwargs.items()}
    if border is None:
        if OPS[op].analog and not values:
            raise wrong(name, op, "a signal in front of other arguments", "no arguments")
        return OpNode(name, op, values, tuple(named.items()))
    expected, make = border
    try:
        return make(name, values, named)
    except _NotThatError as error:
        raise wrong(name, op, expected, repr((*values, named) if named else values)) from error


def wrong(name: str, op: str, expected: str, got: str) -> ArtifactError:
    """The error for arguments that do not fit a node."""
    shown = got if len(got) <= 200 else f"{got[:200]} ..."
    return ArtifactError(f"node '{name}' ({op}) of the graph: expected {expected}, got {shown}")


class _NotThatError(Exception):
    """Arguments of another number or type."""


def _these(values: Sequence[Any], *types: Any) -> tuple[Any, ...]:
    """The values, checked to have the given types."""
    if len(values) != len(types) or not all(isinstance(v, kind) for v, kind in zip(values, types, strict=True)):
        raise _NotThatError
    return tuple(values)


def _nothing_else(named: Mapping[str, Any]) -> None:
    if named:
        raise _NotThatError


def _input(name: str, values: tuple[Any, ...], named: dict[str, Any]) -> Node:
    _nothing_else(named)
    (argument,) = _these(values[:1], str)
    if len(values) > 2:
        raise _NotThatError
    return Input(name, argument, values[1:])


def _plain(kind: Callable[..., Node], *types: Any) -> Callable[[str, tuple[Any, ...], dict[str, Any]], Node]:
    def make(name: str, values: tuple[Any, ...], named: dict[str, Any]) -> Node:
        _nothing_else(named)
        return kind(name, *_these(values, *types))

    return make


def _recurrence(name: str, values: tuple[Any, ...], named: dict[str, Any]) -> Node:
    source, states, layer, alpha_in, alpha_out = _these(values, Ref, tuple | list, str, TensorKey, TensorKey)
    if named.keys() != {"kind", "time_dim", "reverse"} or not all(s is None or isinstance(s, Ref) for s in states):
        raise _NotThatError
    kind, reverse = _these((named["kind"], named["reverse"]), str, bool)
    if named["time_dim"] not in (0, 1):
        raise _NotThatError
    return Recurrence(name, source, tuple(states), layer, alpha_in, alpha_out, kind, int(named["time_dim"]), reverse)


_SCALED = (Ref, TensorKey)
_BORDERS: dict[str, tuple[str, Callable[[str, tuple[Any, ...], dict[str, Any]], Node]]] = {
    Input.OP: ("the name of an argument, and its default if it has one", _input),
    Constant.OP: ("one tensor", _plain(Constant, TensorKey)),
    Dac.OP: ("a value and a scale", _plain(Dac, *_SCALED)),
    Adc.OP: ("a value and a scale", _plain(Adc, *_SCALED)),
    OutputRescale.OP: ("a value and a scale", _plain(OutputRescale, *_SCALED)),
    Crossbar.OP: ("a voltage and a layer", _plain(Crossbar, Ref, str)),
    ClampSwing.OP: ("one voltage", _plain(ClampSwing, Ref)),
    Recurrence.OP: (
        "a value, states, a layer, two scales, and kind, time_dim (0 or 1) and reverse (true or false)",
        _recurrence,
    ),
    Output.OP: ("one value, or a nest of them", _plain(Output, object)),
}


# ---- values ----------------------------------------------------------------------------------------------------------


def _encode(value: Any) -> Any:
    if isinstance(value, Ref):
        return {"ref": value.name}
    if isinstance(value, TensorKey):
        return {"tensor": value.key}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, torch.memory_format):
        return {"memory_format": str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}  # JSON has no infinity
    if isinstance(value, slice):
        return {"slice": [_encode(part) for part in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, tuple):
        return {"tuple": [_encode(part) for part in value]}
    if isinstance(value, list):
        return [_encode(part) for part in value]
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {"dict": {key: _encode(part) for key, part in value.items()}}
        return {"items": [[_encode_key(key), _encode(part)] for key, part in value.items()]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ArtifactError(f"a value of type {type(value).__name__} ({value!r}) cannot be written to a graph")


def _encode_key(key: Any) -> str | int:
    if isinstance(key, str | int):
        return key
    raise ArtifactError(
        f"a key of type {type(key).__name__} ({key!r}) cannot be written to a graph; expected texts or whole numbers"
    )


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(part) for part in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise ArtifactError(f"a graph holds a value of {len(value)} kinds ({', '.join(value)!r:.100}); expected one")
    ((kind, content),) = value.items()
    decode = _DECODERS.get(kind)
    if decode is None:
        raise ArtifactError(f"a graph holds a value of the unknown kind '{kind:.100}'")
    try:
        return decode(content)
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:  # torch.device raises RuntimeError
        raise ArtifactError(f"a graph holds {content!r:.100}, which is no {kind}: {error}") from error


def _decode_dtype(content: str) -> torch.dtype:
    dtype = getattr(torch, content)
    if not isinstance(dtype, torch.dtype):
        raise ValueError("expected a number type of torch")
    return dtype


def _decode_memory_format(content: str) -> torch.memory_format:
    if content not in _MEMORY_FORMATS:
        raise ValueError(f"expected one of {', '.join(_MEMORY_FORMATS)}")
    return _MEMORY_FORMATS[content]


_MEMORY_FORMATS = {
    str(each).removeprefix("torch."): each
    for each in (torch.contiguous_format, torch.preserve_format, torch.channels_last, torch.channels_last_3d)
}


def _decode_items(content: list[Any]) -> dict[str | int, Any]:
    """A dict whose keys are not all texts, as JSON has them."""
    decoded: dict[str | int, Any] = {}
    for key, part in content:
        if not isinstance(key, str | int) or key in decoded:
            raise ValueError(f"expected texts or whole numbers as keys, each once, got {key!r:.100}")
        decoded[key] = _decode(part)
    return decoded


def _decode_text(make: Callable[[str], Any]) -> Callable[[Any], Any]:
    def decode(content: Any) -> Any:
        if not isinstance(content, str):
            raise ValueError(f"expected a text, got {type(content).__name__}")
        return make(content)

    return decode


def _decode_slice(content: list[Any]) -> slice:
    start, stop, step = (_decode(part) for part in content)
    return slice(start, stop, step)


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "ref": _decode_text(Ref),
    "tensor": _decode_text(TensorKey),
    "dtype": _decode_text(_decode_dtype),
    "device": _decode_text(torch.device),
    "float": _decode_text(float),
    "slice": _decode_slice,
    "ellipsis": lambda _: Ellipsis,
    "tuple": lambda content: tuple(_decode(part) for part in content),
    "memory_format": _decode_text(_decode_memory_format),
    "items": _decode_items,
    "dict": lambda content: {key: _decode(part) for key, part in content.items()},
}
