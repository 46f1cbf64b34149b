"""The operations that a graph may hold between crossbars: one table for conversion, mapping and simulation.

`analog` operations commute with a positive scale, so a circuit can do them on voltages: rectifiers, pooling, layout,
sums. All others run in a **digital island**, between an ADC and a DAC. A graph that is read from a file may name these
operations and no others: a file can never call what is not in this table.

To add one, add a line to the list that fits it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["OPS", "Op", "op_of"]

Signals = Literal["first", "two", "list"]


@dataclass(frozen=True)
class Op:
    """One operation of the table."""

    name: str
    function: Callable[..., Any]
    """What is called on the arguments; the same for all the ways to write the operation."""
    analog: bool
    """Whether it commutes with a positive scale."""
    signals: Signals = "first"
    """Which arguments carry signals: the first one, the first two, or a list in the first place."""
    amplifier: bool = False
    """Whether an amplifier yields the result, so that its output swing limits it."""
    per_channel: bool = False
    """Whether it treats the channels (dimension 1) apart, so that each may have a scale of its own."""


def _add(a: Any, b: Any, *, alpha: float = 1) -> Any:
    return a + b if alpha == 1 else a + alpha * b


def _sub(a: Any, b: Any, *, alpha: float = 1) -> Any:
    return a - b if alpha == 1 else a - alpha * b


def _relu(x: Tensor, inplace: bool = False) -> Tensor:
    return F.relu(x)


def _size(x: Tensor, dim: int | None = None) -> Any:
    return tuple(x.shape) if dim is None else x.shape[dim]


def _identity(x: Any, *_: Any, **__: Any) -> Any:
    return x


def _mean(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return torch.mean(x, *args, **kwargs)


def _reshape(x: Tensor, *shape: Any) -> Tensor:
    # `view` of what is contiguous in PyTorch may not be so after a different but equal computation.
    return x.reshape(*shape)


def _method(name: str) -> Callable[..., Any]:
    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(x, name)(*args, **kwargs)

    return call


# (name, function, ways to write it: functions, and Tensor methods as strings)
_CHANNELWISE: list[tuple[str, Callable[..., Any], list[Any]]] = [
    ("relu", _relu, [F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"]),
    ("leaky_relu", F.leaky_relu, [F.leaky_relu, F.leaky_relu_]),
    ("identity", _identity, ["contiguous", "clone", torch.clone, "detach"]),
    ("max_pool1d", F.max_pool1d, [F.max_pool1d, torch.max_pool1d]),
    ("max_pool2d", F.max_pool2d, [F.max_pool2d, torch.max_pool2d]),
    ("max_pool3d", F.max_pool3d, [F.max_pool3d, torch.max_pool3d]),
    ("avg_pool1d", F.avg_pool1d, [F.avg_pool1d, torch.avg_pool1d]),
    ("avg_pool2d", F.avg_pool2d, [F.avg_pool2d]),
    ("avg_pool3d", F.avg_pool3d, [F.avg_pool3d]),
    ("adaptive_avg_pool1d", F.adaptive_avg_pool1d, [F.adaptive_avg_pool1d, torch.adaptive_avg_pool1d]),
    ("adaptive_avg_pool2d", F.adaptive_avg_pool2d, [F.adaptive_avg_pool2d]),
    ("adaptive_avg_pool3d", F.adaptive_avg_pool3d, [F.adaptive_avg_pool3d]),
    ("adaptive_max_pool1d", F.adaptive_max_pool1d, [F.adaptive_max_pool1d]),
    ("adaptive_max_pool2d", F.adaptive_max_pool2d, [F.adaptive_max_pool2d]),
    ("adaptive_max_pool3d", F.adaptive_max_pool3d, [F.adaptive_max_pool3d]),
]
_LAYOUT: list[tuple[str, Callable[..., Any], list[Any]]] = [
    ("flatten", torch.flatten, [torch.flatten, "flatten"]),
    ("unflatten", _method("unflatten"), [torch.unflatten, "unflatten"]),
    ("reshape", _reshape, [torch.reshape, "reshape", "view"]),
    ("permute", _method("permute"), [torch.permute, "permute"]),
    ("transpose", torch.transpose, [torch.transpose, "transpose", torch.swapaxes, "swapaxes"]),
    ("squeeze", torch.squeeze, [torch.squeeze, "squeeze"]),
    ("unsqueeze", torch.unsqueeze, [torch.unsqueeze, "unsqueeze"]),
    ("getitem", operator.getitem, [operator.getitem]),
    ("chunk", torch.chunk, [torch.chunk, "chunk"]),
    ("split", torch.split, [torch.split, "split"]),
    ("unbind", torch.unbind, [torch.unbind, "unbind"]),
    ("select", torch.select, [torch.select, "select"]),
    ("narrow", torch.narrow, [torch.narrow, "narrow"]),
    ("expand", _method("expand"), ["expand"]),
    ("repeat", _method("repeat"), ["repeat"]),
    ("pixel_shuffle", F.pixel_shuffle, [F.pixel_shuffle, torch.pixel_shuffle]),
    ("pixel_unshuffle", F.pixel_unshuffle, [F.pixel_unshuffle, torch.pixel_unshuffle]),
    ("mean", _mean, [torch.mean, "mean"]),
    ("amax", torch.amax, [torch.amax, "amax"]),
    ("pad", F.pad, [F.pad]),
    ("interpolate", F.interpolate, [F.interpolate]),
]
_DIGITAL: list[tuple[str, Callable[..., Any], list[Any]]] = [
    ("relu6", F.relu6, [F.relu6]),
    ("hardtanh", F.hardtanh, [F.hardtanh]),
    ("gelu", F.gelu, [F.gelu]),
    ("silu", F.silu, [F.silu]),
    ("mish", F.mish, [F.mish]),
    ("elu", F.elu, [F.elu]),
    ("selu", F.selu, [F.selu]),
    ("celu", F.celu, [F.celu]),
    ("prelu", torch.prelu, [F.prelu, torch.prelu]),
    ("glu", F.glu, [F.glu]),
    ("hardswish", F.hardswish, [F.hardswish]),
    ("hardsigmoid", F.hardsigmoid, [F.hardsigmoid]),
    ("logsigmoid", F.logsigmoid, [F.logsigmoid]),
    ("softplus", F.softplus, [F.softplus]),
    ("softsign", F.softsign, [F.softsign]),
    ("sigmoid", torch.sigmoid, [torch.sigmoid, F.sigmoid, "sigmoid"]),
    ("tanh", torch.tanh, [torch.tanh, F.tanh, "tanh"]),
    ("softmax", F.softmax, [F.softmax, torch.softmax, "softmax"]),
    ("log_softmax", F.log_softmax, [F.log_softmax, torch.log_softmax, "log_softmax"]),
    ("normalize", F.normalize, [F.normalize]),
    ("layer_norm", F.layer_norm, [F.layer_norm]),
    ("rms_norm", F.rms_norm, [F.rms_norm]),
    ("group_norm", F.group_norm, [F.group_norm]),
    ("instance_norm", F.instance_norm, [F.instance_norm]),
    ("local_response_norm", F.local_response_norm, [F.local_response_norm]),
    ("batch_norm", F.batch_norm, []),  # made by mapping from a batch norm that no crossbar could take
    ("lp_pool2d", F.lp_pool2d, [F.lp_pool2d]),
    ("embedding", F.embedding, [F.embedding]),
    ("linear", F.linear, [F.linear]),
    ("matmul", torch.matmul, [torch.matmul, operator.matmul, torch.bmm, torch.mm, "matmul", "bmm", "mm"]),
    ("attention", F.scaled_dot_product_attention, [F.scaled_dot_product_attention]),
    ("mul", operator.mul, [operator.mul, operator.imul, torch.mul, "mul", "mul_"]),
    ("truediv", operator.truediv, [operator.truediv, operator.itruediv, torch.div, "div"]),
    ("floordiv", operator.floordiv, [operator.floordiv, torch.floor_divide]),
    ("mod", operator.mod, [operator.mod]),
    ("neg", operator.neg, [operator.neg, torch.neg, "neg"]),
    ("abs", torch.abs, [torch.abs, "abs"]),
    ("pow", torch.pow, [torch.pow, operator.pow, "pow"]),
    ("exp", torch.exp, [torch.exp, "exp"]),
    ("log", torch.log, [torch.log, "log"]),
    ("sqrt", torch.sqrt, [torch.sqrt, "sqrt"]),
    ("rsqrt", torch.rsqrt, [torch.rsqrt, "rsqrt"]),
    ("clamp", torch.clamp, [torch.clamp, "clamp", "clamp_"]),
    ("sum", torch.sum, [torch.sum, "sum"]),
    ("max", torch.max, [torch.max, "max"]),
    ("min", torch.min, [torch.min, "min"]),
    ("argmax", torch.argmax, [torch.argmax, "argmax"]),
    ("where", torch.where, [torch.where]),
    ("float", _method("float"), ["float"]),
    ("size", _size, ["size"]),
    ("dim", _method("dim"), ["dim"]),
]

OPS: dict[str, Op] = {}
_BY_TARGET: dict[Any, Op] = {}


def _register(op: Op, targets: list[Any]) -> None:
    OPS[op.name] = op
    _BY_TARGET.update(dict.fromkeys([*targets, op.function], op))


for _name, _function, _targets in _CHANNELWISE:
    _register(Op(_name, _function, analog=True, per_channel=True), _targets)
for _name, _function, _targets in _LAYOUT:
    _register(Op(_name, _function, analog=True), _targets)
for _name, _function, _targets in _DIGITAL:
    _register(Op(_name, _function, analog=False), _targets)
_register(
    Op("add", _add, analog=True, signals="two", amplifier=True, per_channel=True),
    [operator.add, operator.iadd, torch.add, "add", "add_"],
)
_register(
    Op("sub", _sub, analog=True, signals="two", amplifier=True, per_channel=True),
    [operator.sub, operator.isub, torch.sub, "sub", "sub_"],
)
_register(Op("cat", torch.cat, analog=True, signals="list"), [torch.cat, torch.concat, torch.concatenate])
_register(Op("stack", torch.stack, analog=True, signals="list"), [torch.stack])


def op_of(target: Any) -> Op | None:
    """The operation that a function, or the name of a Tensor method, stands for; None if the table has none."""
    try:
        return _BY_TARGET.get(target)
    except TypeError:  # not hashable
        return None
