"""The operations that a graph may hold between crossbars: one table for conversion, mapping and simulation.

`analog` operations commute with a positive scale, so a circuit can do them on voltages: rectifiers, pooling, layout,
sums. All others are **digital operations**, between an ADC and a DAC, for the reason that the table gives. Some only
ask for sizes and look at no value. A graph that is read from a file may name these operations and no others: a file can
never call what is not in this table.

To add one, add a line to the list that fits it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch.fx.node import has_side_effect

from hrat.circuit import functions
from hrat.circuit.functions import MOST_BITS, MOST_VALUES

__all__ = ["MOST_BITS", "MOST_VALUES", "OPS", "Op", "op_of", "register", "ways_to_call"]

Signals = Literal["first", "two", "list"]


@dataclass(frozen=True)
class Op:
    """One operation of the table."""

    name: str
    function: Callable[..., Any]
    """Function of the arguments; one for all ways to write the operation."""
    analog: bool
    """Whether it commutes with a positive scale."""
    signals: Signals = "first"
    """Which arguments carry signals: the first one, the first two, or a list in the first place."""
    amplifier: bool = False
    """Whether an amplifier yields the result, so that its output swing limits it."""
    per_channel: bool = False
    """Whether it treats the channels (dimension 1) apart, so that each may have a scale of its own."""
    why: str = ""
    """Why it is digital."""
    reads_values: bool = True
    """Whether the values of its arguments matter, not their sizes alone."""
    rectifies: bool = False
    """Whether it is a clamp to `[0, infinity)`, which an amplifier with a single supply does by itself."""
    factory: bool = False
    """Whether it makes a tensor without taking one, so that no argument tells on which device to make it."""
    selects: bool = False
    """Whether each value of its result is a value of its signal, so that it commutes with a clamp."""
    indices_at: int | None = None
    """Position of the argument that also asks for indices, which a clamp in front would change."""
    makes_new: bool = False
    """Whether its result has memory of its own; else it may be a view of its signal."""
    keeps_order: bool = False
    """Whether all values of its signal stay, in their order."""
    is_arithmetic: bool = False
    """Whether it computes new values from its signal, not layout alone: what counts where it has to be digital."""

    def picks(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether a call of it selects values, and yields nothing that depends on the others."""
        asked = self.indices_at is not None and len(args) > self.indices_at and bool(args[self.indices_at])
        return self.selects and not asked and not kwargs.get("return_indices")


# (name, function, ways to write it: functions, and Tensor methods as strings)
_Line = tuple[str, Callable[..., Any], list[Any]]
_RELU: list[_Line] = [("relu", functions.relu, [F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"])]
_LEAKY_RELU: list[_Line] = [
    ("leaky_relu", F.leaky_relu, [F.leaky_relu, F.leaky_relu_]),
    ("prelu", torch.prelu, [F.prelu, torch.prelu]),  # digital where the slopes are signals
]
_MAX_POOLS: list[_Line] = [
    ("max_pool1d", F.max_pool1d, [F.max_pool1d, torch.max_pool1d]),
    ("max_pool2d", F.max_pool2d, [F.max_pool2d, torch.max_pool2d]),
    ("max_pool3d", F.max_pool3d, [F.max_pool3d, torch.max_pool3d]),
]
_ADAPTIVE_MAX_POOLS: list[_Line] = [
    ("adaptive_max_pool1d", F.adaptive_max_pool1d, [F.adaptive_max_pool1d]),
    ("adaptive_max_pool2d", F.adaptive_max_pool2d, [F.adaptive_max_pool2d]),
    ("adaptive_max_pool3d", F.adaptive_max_pool3d, [F.adaptive_max_pool3d]),
]
_POOLS_BY_SIGN: list[_Line] = [
    # Made by conversion from a maximum pooling behind a batch norm that a crossbar takes.
    ("pool_by_sign", functions.pool_by_sign, []),
]
_MEAN_POOLS: list[_Line] = [
    ("avg_pool1d", F.avg_pool1d, [F.avg_pool1d, torch.avg_pool1d]),
    ("avg_pool2d", F.avg_pool2d, [F.avg_pool2d]),
    ("avg_pool3d", F.avg_pool3d, [F.avg_pool3d]),
    ("adaptive_avg_pool1d", F.adaptive_avg_pool1d, [F.adaptive_avg_pool1d, torch.adaptive_avg_pool1d]),
    ("adaptive_avg_pool2d", F.adaptive_avg_pool2d, [F.adaptive_avg_pool2d]),
    ("adaptive_avg_pool3d", F.adaptive_avg_pool3d, [F.adaptive_avg_pool3d]),
]
_AS_THEY_ARE: list[_Line] = [
    ("identity", functions.identity, ["contiguous", "clone", torch.clone, "detach", torch.detach]),
]
_IN_ORDER: list[_Line] = [
    ("flatten", torch.flatten, [torch.flatten, "flatten"]),
    ("unflatten", functions.method("unflatten"), [torch.unflatten, "unflatten"]),
    ("reshape", functions.reshape, [torch.reshape, "reshape", "view"]),
    ("squeeze", torch.squeeze, [torch.squeeze, "squeeze"]),
    ("unsqueeze", torch.unsqueeze, [torch.unsqueeze, "unsqueeze"]),
]
_TURNED: list[_Line] = [
    ("permute", functions.method("permute"), [torch.permute, "permute"]),
    ("transpose", torch.transpose, [torch.transpose, "transpose", torch.swapaxes, "swapaxes", torch.swapdims]),
    ("movedim", torch.movedim, [torch.movedim, "movedim", torch.moveaxis, "moveaxis"]),
    ("t", torch.t, [torch.t, "t"]),
]
_REDUCTIONS: list[_Line] = [
    ("mean", functions.mean, [torch.mean, "mean"]),
    ("amax", torch.amax, [torch.amax, "amax"]),
]
_LAYOUT: list[_Line] = [
    ("getitem", operator.getitem, [operator.getitem]),
    ("chunk", functions.in_pieces(torch.chunk, functions.chunks), [torch.chunk, "chunk"]),
    ("split", functions.in_pieces(functions.method("split"), functions.splits), [torch.split, "split"]),
    ("tensor_split", functions.in_pieces(torch.tensor_split, functions.sections), [torch.tensor_split, "tensor_split"]),
    ("unbind", functions.in_pieces(torch.unbind, functions.slices), [torch.unbind, "unbind"]),
    ("select", torch.select, [torch.select, "select"]),
    ("narrow", torch.narrow, [torch.narrow, "narrow"]),
    ("index_select", torch.index_select, [torch.index_select, "index_select"]),
    ("unfold", functions.method("unfold"), ["unfold"]),
    ("expand", functions.method("expand"), ["expand", torch.broadcast_to]),
    ("expand_as", functions.method("expand_as"), ["expand_as"]),
    ("view_as", functions.method("reshape_as"), ["view_as", "reshape_as"]),
    ("repeat", functions.method("repeat"), ["repeat"]),
    ("tile", functions.method("tile"), [torch.tile, "tile"]),
    ("repeat_interleave", functions.repeat_interleave, [torch.repeat_interleave, "repeat_interleave"]),
    ("flip", functions.method("flip"), [torch.flip, "flip"]),
    ("roll", torch.roll, [torch.roll, "roll"]),
    ("channel_shuffle", F.channel_shuffle, [F.channel_shuffle]),
    ("pixel_shuffle", F.pixel_shuffle, [F.pixel_shuffle, torch.pixel_shuffle]),
    ("pixel_unshuffle", F.pixel_unshuffle, [F.pixel_unshuffle, torch.pixel_unshuffle]),
    ("pad", F.pad, [F.pad]),
    ("interpolate", F.interpolate, [F.interpolate]),
    (
        "to",
        functions.method("to"),
        ["to"],
    ),  # to another number type or device; digital where the type is no real number
    ("type_as", functions.method("type_as"), ["type_as"]),
    ("float", functions.method("float"), ["float"]),
    ("double", functions.method("double"), ["double"]),
    ("half", functions.method("half"), ["half"]),
]
_BENDS = "does not commute with a scale"
_CURVES: list[_Line] = [
    ("relu6", F.relu6, [F.relu6]),
    ("hardtanh", F.hardtanh, [F.hardtanh]),
    ("gelu", F.gelu, [F.gelu]),
    ("silu", F.silu, [F.silu]),
    ("mish", F.mish, [F.mish]),
    ("elu", F.elu, [F.elu]),
    ("selu", F.selu, [F.selu]),
    ("celu", F.celu, [F.celu]),
    ("hardswish", F.hardswish, [F.hardswish]),
    ("hardsigmoid", F.hardsigmoid, [F.hardsigmoid]),
    ("hardshrink", F.hardshrink, [F.hardshrink]),
    ("softshrink", F.softshrink, [F.softshrink]),
    ("tanhshrink", F.tanhshrink, [F.tanhshrink]),
    ("threshold", F.threshold, [F.threshold]),
    ("logsigmoid", F.logsigmoid, [F.logsigmoid]),
    ("softplus", F.softplus, [F.softplus]),
    ("softsign", F.softsign, [F.softsign]),
    ("sigmoid", torch.sigmoid, [torch.sigmoid, F.sigmoid, "sigmoid", "sigmoid_"]),
    ("tanh", torch.tanh, [torch.tanh, F.tanh, "tanh", "tanh_"]),
    ("softmax", F.softmax, [F.softmax, torch.softmax, "softmax"]),
    ("softmin", F.softmin, [F.softmin]),
    ("log_softmax", F.log_softmax, [F.log_softmax, torch.log_softmax, "log_softmax"]),
    ("exp", torch.exp, [torch.exp, "exp"]),
    ("log", torch.log, [torch.log, "log"]),
    ("log1p", torch.log1p, [torch.log1p, "log1p"]),
    ("sqrt", torch.sqrt, [torch.sqrt, "sqrt"]),
    ("rsqrt", torch.rsqrt, [torch.rsqrt, "rsqrt"]),
    ("pow", functions.pow, [torch.pow, operator.pow, "pow"]),
    ("square", torch.square, [torch.square, "square"]),
    ("reciprocal", torch.reciprocal, [torch.reciprocal, "reciprocal"]),
    ("erf", torch.erf, [torch.erf, "erf"]),
    ("sin", torch.sin, [torch.sin, "sin"]),
    ("cos", torch.cos, [torch.cos, "cos"]),
    ("clamp", torch.clamp, [torch.clamp, "clamp", "clamp_", torch.clip, "clip"]),
    ("clamp_min", torch.clamp_min, [torch.clamp_min, "clamp_min"]),
    ("clamp_max", torch.clamp_max, [torch.clamp_max, "clamp_max"]),
    ("round", torch.round, [torch.round, "round"]),
    ("sign", torch.sign, [torch.sign, "sign"]),
]
_DIVIDES = "divides by statistics of the signal"
_NORMS: list[_Line] = [
    ("normalize", F.normalize, [F.normalize]),
    ("layer_norm", F.layer_norm, [F.layer_norm, torch.layer_norm]),
    ("rms_norm", F.rms_norm, [F.rms_norm, torch.rms_norm]),
    ("group_norm", F.group_norm, [F.group_norm, torch.group_norm]),
    ("instance_norm", F.instance_norm, [F.instance_norm]),
    ("local_response_norm", F.local_response_norm, [F.local_response_norm]),
    ("lp_pool2d", F.lp_pool2d, [F.lp_pool2d]),
    ("norm", torch.norm, [torch.norm, "norm"]),
    ("vector_norm", torch.linalg.vector_norm, [torch.linalg.vector_norm, torch.linalg.norm]),
    ("var", torch.var, [torch.var, "var"]),
    ("std", torch.std, [torch.std, "std"]),
    ("var_mean", torch.var_mean, [torch.var_mean]),
    ("cosine_similarity", F.cosine_similarity, [F.cosine_similarity]),
]
_MULTIPLIES = "multiplies signals, or one with numbers that no crossbar holds"
_PRODUCTS: list[_Line] = [
    ("linear", F.linear, [F.linear]),
    ("bilinear", F.bilinear, [F.bilinear]),
    ("matmul", torch.matmul, [torch.matmul, operator.matmul, torch.bmm, torch.mm, "matmul", "bmm", "mm"]),
    ("addmm", torch.addmm, [torch.addmm, "addmm"]),
    ("baddbmm", torch.baddbmm, [torch.baddbmm, "baddbmm"]),
    ("einsum", torch.einsum, [torch.einsum]),
    ("outer", torch.outer, [torch.outer, "outer"]),
    ("attention", F.scaled_dot_product_attention, [F.scaled_dot_product_attention]),
    ("glu", F.glu, [F.glu]),
    ("mul", functions.mul, [operator.mul, operator.imul, torch.mul, torch.multiply, "mul", "mul_", "multiply"]),
    ("truediv", operator.truediv, [operator.truediv, operator.itruediv, torch.div, torch.divide, "div", "div_"]),
    ("lerp", torch.lerp, [torch.lerp, "lerp"]),
    ("addcmul", torch.addcmul, [torch.addcmul, "addcmul"]),
    ("cumprod", torch.cumprod, [torch.cumprod, "cumprod"]),
    ("prod", torch.prod, [torch.prod, "prod"]),
]
_IS_LOGIC = "arithmetic or logic that the circuit has no part for"
_LOGIC: list[_Line] = [
    ("floordiv", operator.floordiv, [operator.floordiv, torch.floor_divide, "floor_divide"]),
    ("mod", functions.remainder, [operator.mod, torch.remainder, "remainder"]),
    ("neg", operator.neg, [operator.neg, torch.neg, "neg"]),
    ("abs", operator.abs, [torch.abs, operator.abs, "abs"]),
    ("floor", torch.floor, [torch.floor, "floor"]),
    ("ceil", torch.ceil, [torch.ceil, "ceil"]),
    ("sum", torch.sum, [torch.sum, "sum"]),
    ("cumsum", torch.cumsum, [torch.cumsum, "cumsum"]),
    ("diff", torch.diff, [torch.diff, "diff"]),
    ("logsumexp", torch.logsumexp, [torch.logsumexp, "logsumexp"]),
    ("max", torch.max, [torch.max, "max"]),
    ("min", torch.min, [torch.min, "min"]),
    ("amin", torch.amin, [torch.amin, "amin"]),
    ("maximum", torch.maximum, [torch.maximum, "maximum"]),
    ("minimum", torch.minimum, [torch.minimum, "minimum"]),
    ("argmax", torch.argmax, [torch.argmax, "argmax"]),
    ("argmin", torch.argmin, [torch.argmin, "argmin"]),
    ("topk", torch.topk, [torch.topk, "topk"]),
    ("sort", torch.sort, [torch.sort, "sort"]),
    ("argsort", torch.argsort, [torch.argsort, "argsort"]),
    ("any", torch.any, [torch.any, "any"]),
    ("all", torch.all, [torch.all, "all"]),
    ("where", torch.where, [torch.where, "where"]),
    ("masked_fill", torch.masked_fill, [torch.masked_fill, "masked_fill", "masked_fill_"]),
    ("fill", torch.full_like, ["fill_"]),
    ("gather", torch.gather, [torch.gather, "gather"]),
    ("one_hot", F.one_hot, [F.one_hot]),
    ("tril", torch.tril, [torch.tril, "tril"]),
    ("triu", torch.triu, [torch.triu, "triu"]),
    ("eq", operator.eq, [operator.eq, torch.eq, "eq"]),
    ("ne", operator.ne, [operator.ne, torch.ne, "ne"]),
    ("lt", operator.lt, [operator.lt, torch.lt, "lt"]),
    ("le", operator.le, [operator.le, torch.le, "le"]),
    ("gt", operator.gt, [operator.gt, torch.gt, "gt"]),
    ("ge", operator.ge, [operator.ge, torch.ge, "ge"]),
    ("and", operator.and_, [operator.and_, torch.bitwise_and]),
    ("or", operator.or_, [operator.or_, torch.bitwise_or]),
    ("xor", operator.xor, [operator.xor, torch.bitwise_xor]),
    ("invert", operator.invert, [operator.invert, torch.bitwise_not]),
    ("not", operator.not_, [operator.not_]),
    ("logical_and", torch.logical_and, [torch.logical_and, "logical_and"]),
    ("logical_or", torch.logical_or, [torch.logical_or, "logical_or"]),
    ("logical_not", torch.logical_not, [torch.logical_not, "logical_not"]),
    ("long", functions.method("long"), ["long"]),
    ("int", functions.method("int"), ["int"]),
    ("bool", functions.method("bool"), ["bool"]),
]
_DIGITAL: list[tuple[str, list[_Line]]] = [
    (_BENDS, _CURVES),
    (_DIVIDES, _NORMS),
    (_MULTIPLIES, _PRODUCTS),
    (_IS_LOGIC, _LOGIC),
    ("a table look-up", [("embedding", functions.embedding, [F.embedding, torch.embedding])]),
    # Made by mapping from a batch norm that no crossbar could take.
    ("no crossbar beside it can take it exactly", [("batch_norm", F.batch_norm, [])]),
]
_SIZES: list[_Line] = [
    ("size", functions.size, ["size"]),
    ("dim", functions.method("dim"), ["dim"]),
    ("numel", functions.method("numel"), ["numel", torch.numel]),
    ("len", len, [len]),
    ("device", functions.device, ["device"]),
    ("number_sqrt", math.sqrt, [math.sqrt]),
    ("number_log", math.log, [math.log]),
    ("number_exp", math.exp, [math.exp]),
    ("number_floor", math.floor, [math.floor]),
    ("number_ceil", math.ceil, [math.ceil]),
    ("expect", functions.expect, []),
    ("assert", functions.assert_true, [torch._assert]),
    ("new_zeros", functions.method("new_zeros"), ["new_zeros"]),
    ("new_ones", functions.method("new_ones"), ["new_ones"]),
    ("new_full", functions.method("new_full"), ["new_full"]),
    ("zeros_like", torch.zeros_like, [torch.zeros_like]),
    ("ones_like", torch.ones_like, [torch.ones_like]),
    ("full_like", torch.full_like, [torch.full_like]),
]
_FACTORIES: list[_Line] = [
    ("zeros", torch.zeros, [torch.zeros]),
    ("ones", torch.ones, [torch.ones]),
    ("full", torch.full, [torch.full]),
    ("eye", torch.eye, [torch.eye]),
    ("arange", torch.arange, [torch.arange]),
    ("linspace", torch.linspace, [torch.linspace]),
    ("tensor", torch.tensor, [torch.tensor]),
]

OPS: dict[str, Op] = {}
_BY_TARGET: dict[Any, Op] = {}


def register(op: Op, targets: list[Any]) -> None:
    """Put an operation into the table, under its name and for all functions and methods that stand for it."""
    OPS[op.name] = op
    _BY_TARGET.update(dict.fromkeys([*targets, op.function], op))


def _register(lines: list[_Line], **known: Any) -> None:
    for name, function, targets in lines:
        register(Op(name, function, **known), targets)


_register(_RELU, analog=True, per_channel=True, is_arithmetic=True, makes_new=True, rectifies=True)
_register(_LEAKY_RELU, analog=True, per_channel=True, is_arithmetic=True, makes_new=True)
_register(_MAX_POOLS, analog=True, per_channel=True, is_arithmetic=True, makes_new=True, selects=True, indices_at=6)
_register(
    _ADAPTIVE_MAX_POOLS, analog=True, per_channel=True, is_arithmetic=True, makes_new=True, selects=True, indices_at=2
)
_register(_POOLS_BY_SIGN, analog=True, per_channel=True, is_arithmetic=True, makes_new=True, selects=True)
_register(_MEAN_POOLS, analog=True, per_channel=True, is_arithmetic=True, makes_new=True)
_register(_AS_THEY_ARE, analog=True, per_channel=True, selects=True, keeps_order=True)
_register(_IN_ORDER, analog=True, selects=True, keeps_order=True)
_register(_TURNED, analog=True, selects=True)
_register(_REDUCTIONS, analog=True, is_arithmetic=True)
_register(_LAYOUT, analog=True)
for _why, _ops in _DIGITAL:
    _register(_ops, analog=False, why=_why)
_register(_SIZES, analog=False, reads_values=False)
_register(_FACTORIES, analog=False, reads_values=False, factory=True)
has_side_effect(functions.expect)
has_side_effect(functions.assert_true)
register(
    Op("add", functions.add, analog=True, signals="two", amplifier=True, per_channel=True, makes_new=True),
    [operator.add, operator.iadd, torch.add, "add", "add_"],
)
register(
    Op("sub", functions.sub, analog=True, signals="two", amplifier=True, per_channel=True, makes_new=True),
    [operator.sub, operator.isub, torch.sub, "sub", "sub_"],
)
register(Op("cat", torch.cat, analog=True, signals="list"), [torch.cat, torch.concat, torch.concatenate])
register(Op("stack", torch.stack, analog=True, signals="list"), [torch.stack])


def op_of(target: Any) -> Op | None:
    """The operation of a function or of a Tensor method's name; None if the table has none."""
    try:
        return _BY_TARGET.get(target)
    except TypeError:  # not hashable
        return None


def ways_to_call(op: Op) -> list[Callable[..., Any]]:
    """The functions that stand for an operation in a network; its own function is the last one."""
    others = [t for t, known in _BY_TARGET.items() if known is op and callable(t) and t is not op.function]
    return [*others, op.function]
