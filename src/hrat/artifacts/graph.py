"""The graph of operations of a chip as plain data.

Beside the operations of `hrat.artifacts.ops` there are those of the borders between the worlds:

=============  ==================================  ==================================================
operation      arguments                           meaning
=============  ==================================  ==================================================
`input`                                            an argument of the network, by its name
`constant`     tensor                              a number that the network holds
`dac`          value, tensor alpha                 digital -> V: `DAC(clamp_read(alpha x))`
`crossbar`     value, layer name                   V -> V: `clamp_swing(R_f (I+ - I-) + V_bias)`
`clamp_swing`  value                               output swing of an amplifier that adds
`adc`          value, tensor alpha                 V -> digital, in front of a digital island
`reader`       value, tensor alpha                 V -> normal scale, by whoever reads the outputs
`recurrence`   value, states, layer name, two      a recurrent layer: at each time step the state passes a DAC, the
               tensors alpha                       layer and an ADC, and gates (`hrat.artifacts.recurrence`)
`output`       value, or a nest of values          what the network returns
=============  ==================================  ==================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from hrat.artifacts.ops import OPS
from hrat.errors import ArtifactError

__all__ = ["BORDER_OPS", "OpNode", "Ref", "TensorKey", "decode_node", "encode_node", "map_nested"]

BORDER_OPS = ("input", "constant", "dac", "crossbar", "clamp_swing", "adc", "reader", "recurrence", "output")


@dataclass(frozen=True)
class Ref:
    """The result of another node."""

    name: str


@dataclass(frozen=True)
class TensorKey:
    """A tensor that is kept beside the graph."""

    key: str


@dataclass(frozen=True)
class OpNode:
    """One step of the network."""

    name: str
    op: str
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()

    def inputs(self) -> list[str]:
        """Names of the nodes whose results it takes."""
        found: list[str] = []

        def note(value: Any) -> Any:
            if isinstance(value, Ref):
                found.append(value.name)
            return value

        map_nested((self.args, dict(self.kwargs)), note)
        return found


def map_nested(value: Any, change: Callable[[Any], Any]) -> Any:
    """Apply `change` to every leaf of nested tuples, lists, dicts and slices."""
    if isinstance(value, tuple):
        return tuple(map_nested(part, change) for part in value)
    if isinstance(value, list):
        return [map_nested(part, change) for part in value]
    if isinstance(value, dict):
        return {key: map_nested(part, change) for key, part in value.items()}
    if isinstance(value, slice):
        return slice(*(map_nested(part, change) for part in (value.start, value.stop, value.step)))
    return change(value)


def encode_node(node: OpNode) -> dict[str, Any]:
    """A node as JSON data."""
    return {
        "name": node.name,
        "op": node.op,
        "args": [_encode(arg) for arg in node.args],
        "kwargs": {key: _encode(value) for key, value in node.kwargs},
    }


def decode_node(name: str, op: str, args: Iterable[Any], kwargs: Mapping[str, Any]) -> OpNode:
    """The inverse of `encode_node`, from the values of its four keys.

    Raises:
        ArtifactError: the operation is not one that this version knows, or a value is of no known kind.
    """
    if op not in BORDER_OPS and op not in OPS:
        raise ArtifactError(
            f"node '{name}' has the operation '{op}', which this version of hrat does not know; was the file written "
            "by a newer version? One of your own has to be registered first (hrat.operation)"
        )
    return OpNode(name, op, tuple(map(_decode, args)), tuple((key, _decode(value)) for key, value in kwargs.items()))


def _encode(value: Any) -> Any:
    if isinstance(value, Ref):
        return {"ref": value.name}
    if isinstance(value, TensorKey):
        return {"tensor": value.key}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
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
        return {"dict": {str(key): _encode(part) for key, part in value.items()}}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ArtifactError(f"a value of type {type(value).__name__} ({value!r}) cannot be written to a graph")


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
    "dict": lambda content: {key: _decode(part) for key, part in content.items()},
}
