"""The lines of the table of operations: names, functions, and all ways to write each.

All ways of one line mean the same by arguments of the same names; where one of torch's functions has other arguments it
is a line of its own. `"acos/arccos"` stands for `torch.acos`, `Tensor.acos` and the same by the other name.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hrat.circuit import functions
from hrat.circuit.functions import in_pieces, method

__all__ = [
    "ADAPTIVE_MAX_POOLS",
    "AS_THEY_ARE",
    "CASTS",
    "DIGITAL",
    "FACTORIES",
    "IN_ORDER",
    "JOINED",
    "LAYOUT",
    "LEAKY_RELU",
    "MAX_POOLS",
    "MEAN_POOLS",
    "POOLS_BY_SIGN",
    "REDUCTIONS",
    "RELU",
    "SIZES",
    "TURNED",
    "Line",
]

Line = tuple[str, Callable[..., Any], list[Any]]
"""Name, function, ways to write it: functions, and Tensor methods as texts."""


def _named(module: ModuleType, names: str, *, prefix: str = "", methods: bool = True) -> list[Line]:
    """Lines for functions of a module of torch, by their names; names behind a slash mean the same."""
    lines: list[Line] = []
    for aliases in names.split():
        each = aliases.split("/")
        found = [getattr(module, name) for name in each]
        of_tensors = [name for name in each if methods and hasattr(Tensor, name)]
        lines.append((f"{prefix}{each[0]}", found[0], [*found, *of_tensors]))
    return lines


def _both(names: str) -> list[Any]:
    """Functions of torch and methods of tensors, by their names."""
    each = names.split()
    return [*(getattr(torch, name) for name in each), *each]


def _of_both(names: str) -> list[Line]:
    """Lines for functions of torch and torch.special, which may have other names there: `"lgamma=gammaln"`."""
    lines = []
    for pair in names.split():
        name, _, special = pair.partition("=")
        ways = [getattr(torch.special, other) for other in (special or name).split(",")]
        lines.append((name, getattr(torch, name), [*_both(name), *ways]))
    return lines


def _of_linalg(names: str) -> list[Line]:
    """Lines for functions of torch.linalg that torch has too, under the same name or another one: `"inv=inverse"`."""
    pairs = [(name, other or name) for name, _, other in (each.partition("=") for each in names.split())]
    return [
        (f"linalg_{name}", getattr(torch.linalg, name), [getattr(torch.linalg, name), *_both(other)])
        for name, other in pairs
    ]


_OF_NUMBERS = (
    *("sqrt", "exp", "log", "log2", "log10", "floor", "ceil", "trunc", "fabs", "pow", "isqrt", "gcd"),
    *("sin", "cos", "tan", "atan", "atan2"),
)
"""Functions of `math` whose results are of the size of their arguments."""

# ---- what a circuit can do on voltages ---------------------------------------------------------------------------

RELU: list[Line] = [("relu", functions.relu, [F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"])]
LEAKY_RELU: list[Line] = [
    ("leaky_relu", F.leaky_relu, [F.leaky_relu, F.leaky_relu_]),
    ("rrelu", functions.rrelu, [F.rrelu]),
    ("prelu", torch.prelu, [F.prelu, torch.prelu, "prelu"]),  # digital where the slopes are signals
]
MAX_POOLS: list[Line] = [
    ("max_pool1d", F.max_pool1d, [F.max_pool1d, torch.max_pool1d]),
    ("max_pool2d", F.max_pool2d, [F.max_pool2d, torch.max_pool2d]),
    ("max_pool3d", F.max_pool3d, [F.max_pool3d, torch.max_pool3d]),
]
ADAPTIVE_MAX_POOLS = _named(F, "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d")
POOLS_BY_SIGN: list[Line] = [
    # Made by conversion from a maximum pooling behind a batch norm that a crossbar takes.
    ("pool_by_sign", functions.pool_by_sign, []),
]
MEAN_POOLS: list[Line] = [
    ("avg_pool1d", F.avg_pool1d, [F.avg_pool1d, torch.avg_pool1d]),
    ("adaptive_avg_pool1d", F.adaptive_avg_pool1d, [F.adaptive_avg_pool1d, torch.adaptive_avg_pool1d]),
    *_named(F, "avg_pool2d avg_pool3d adaptive_avg_pool2d adaptive_avg_pool3d"),
]
AS_THEY_ARE: list[Line] = [
    ("identity", functions.identity, ["contiguous", "clone", torch.clone, torch.positive, "positive", operator.pos]),
    ("detach", torch.detach, _both("detach")),  # a chip has no gradients; in training see `hrat.nn.GradientStop`
]
IN_ORDER: list[Line] = [
    *_named(torch, "flatten ravel squeeze unsqueeze"),
    ("unflatten", method("unflatten"), [torch.unflatten, "unflatten"]),
    ("reshape", functions.reshape, [torch.reshape, "reshape", "view"]),
]
TURNED: list[Line] = [
    ("permute", method("permute"), [torch.permute, "permute"]),
    *_named(torch, "transpose/swapaxes/swapdims movedim/moveaxis t adjoint"),
]
REDUCTIONS = _named(torch, "mean amax")
LAYOUT: list[Line] = [
    ("getitem", operator.getitem, [operator.getitem]),
    ("chunk", in_pieces(torch.chunk, functions.chunks), [torch.chunk, "chunk"]),
    ("split", in_pieces(method("split"), functions.splits), [torch.split, "split"]),
    (
        "split_with_sizes",
        in_pieces(torch.split_with_sizes, functions.listed),
        [torch.split_with_sizes, "split_with_sizes"],
    ),
    ("tensor_split", in_pieces(torch.tensor_split, functions.sections), [torch.tensor_split, "tensor_split"]),
    *(
        (name, in_pieces(function, functions.sections), ways)
        for name, function, ways in _named(torch, "hsplit vsplit dsplit")
    ),
    ("unbind", in_pieces(torch.unbind, functions.slices), [torch.unbind, "unbind"]),
    *_named(torch, "select narrow index_select diagonal roll rot90 fliplr flipud"),
    ("linalg_diagonal", torch.linalg.diagonal, [torch.linalg.diagonal]),
    ("unfold", method("unfold"), ["unfold"]),
    ("patches", F.unfold, [F.unfold]),
    ("expand", method("expand"), ["expand", torch.broadcast_to, "broadcast_to"]),
    ("expand_as", method("expand_as"), ["expand_as"]),
    ("view_as", method("reshape_as"), ["view_as", "reshape_as"]),
    ("repeat", method("repeat"), ["repeat"]),
    ("tile", method("tile"), [torch.tile, "tile"]),
    ("repeat_interleave", functions.repeat_interleave, [torch.repeat_interleave, "repeat_interleave"]),
    ("flip", method("flip"), [torch.flip, "flip"]),
    ("pixel_shuffle", F.pixel_shuffle, [F.pixel_shuffle, torch.pixel_shuffle]),
    ("pixel_unshuffle", F.pixel_unshuffle, [F.pixel_unshuffle, torch.pixel_unshuffle]),
    *_named(F, "channel_shuffle pad interpolate", methods=False),
]
CASTS: list[Line] = [
    ("to", method("to"), ["to"]),  # to another number type or device
    ("type", functions.type, ["type"]),
    ("type_as", method("type_as"), ["type_as"]),
    *((name, method(name), [name]) for name in ("float", "double", "half", "bfloat16")),
]
JOINED = _named(torch, "cat/concat/concatenate stack hstack vstack/row_stack dstack column_stack")

# ---- what is computed between an ADC and a DAC -------------------------------------------------------------------

_CURVES: list[Line] = [
    *_named(F, "relu6 hardtanh gelu silu mish elu", methods=False),
    ("selu", F.selu, [F.selu, torch.selu]),
    ("celu", F.celu, [F.celu, torch.celu]),
    ("threshold", F.threshold, [F.threshold, torch.threshold]),
    ("hardshrink", F.hardshrink, [F.hardshrink, "hardshrink"]),
    *_named(F, "hardswish hardsigmoid softshrink tanhshrink logsigmoid softplus softsign", methods=False),
    (
        "sigmoid",
        torch.sigmoid,
        [torch.sigmoid, F.sigmoid, torch.special.expit, "sigmoid", "sigmoid_"],
    ),
    ("tanh", torch.tanh, [torch.tanh, F.tanh, "tanh", "tanh_"]),
    ("softmax", F.softmax, [F.softmax, torch.softmax, torch.special.softmax, "softmax"]),
    ("softmin", F.softmin, [F.softmin]),
    (
        "log_softmax",
        F.log_softmax,
        [F.log_softmax, torch.log_softmax, torch.special.log_softmax, "log_softmax"],
    ),
    ("pow", functions.pow, [torch.pow, operator.pow, "pow"]),
    ("clamp", torch.clamp, [torch.clamp, "clamp", "clamp_", torch.clip, "clip"]),
    *_named(torch, "exp log log2 log10 sqrt rsqrt square reciprocal sin cos tan sinh cosh float_power"),
    *_named(torch, "acos/arccos asin/arcsin atan/arctan acosh/arccosh asinh/arcsinh atanh/arctanh atan2/arctan2"),
    *_named(torch, "clamp_min clamp_max sign sgn heaviside copysign signbit nan_to_num frac trunc/fix"),
    *_named(torch, "logaddexp logaddexp2 ldexp hypot deg2rad rad2deg"),
    *_of_both("exp2 expm1 log1p erf erfc erfinv logit i0 sinc round xlogy lgamma=gammaln digamma=digamma,psi"),
    *_of_both("polygamma mvlgamma=multigammaln igamma=gammainc igammac=gammaincc"),
    *_named(torch.special, "entr erfcx i0e i1 i1e log_ndtr ndtr ndtri xlog1py zeta", prefix="special_", methods=False),
]
_NORMS: list[Line] = [
    *_named(F, "normalize local_response_norm lp_pool1d lp_pool2d lp_pool3d", methods=False),
    ("layer_norm", F.layer_norm, [F.layer_norm, torch.layer_norm]),
    ("rms_norm", F.rms_norm, [F.rms_norm, torch.rms_norm]),
    ("group_norm", F.group_norm, [F.group_norm, torch.group_norm]),
    ("instance_norm", functions.instance_norm, [F.instance_norm]),
    ("vector_norm", torch.linalg.vector_norm, [torch.linalg.vector_norm]),
    ("linalg_norm", torch.linalg.norm, [torch.linalg.norm]),
    ("matrix_norm", torch.linalg.matrix_norm, [torch.linalg.matrix_norm]),
    *_named(torch, "norm renorm var std var_mean std_mean dist cdist"),
    ("cosine_similarity", F.cosine_similarity, [F.cosine_similarity]),
    ("pairwise_distance", F.pairwise_distance, [F.pairwise_distance]),
    ("pdist", F.pdist, [F.pdist]),
]
_PRODUCTS: list[Line] = [
    ("linear", F.linear, [F.linear]),
    ("bilinear", F.bilinear, [F.bilinear]),
    (
        "matmul",
        torch.matmul,
        [torch.matmul, operator.matmul, torch.linalg.matmul, torch.bmm, torch.mm, "matmul", "bmm", "mm"],
    ),
    ("outer", torch.outer, [torch.outer, "outer", torch.ger, "ger"]),
    *_named(torch, "addmm baddbmm addbmm addmv addr mv dot inner vdot cross kron tensordot einsum chain_matmul"),
    ("attention", functions.attention, [F.scaled_dot_product_attention]),
    ("glu", F.glu, [F.glu]),
    ("mul", functions.mul, [operator.mul, operator.imul, *_both("mul multiply"), "mul_"]),
    ("truediv", functions.div, [operator.truediv, operator.itruediv, *_both("div divide true_divide"), "div_"]),
    *_named(torch, "lerp addcmul addcdiv cumprod prod trapezoid/trapz cumulative_trapezoid"),
    *_named(torch.linalg, "cross vecdot multi_dot", prefix="linalg_", methods=False),
    *_of_linalg("matrix_power"),
]
_KERNELS: list[Line] = [
    *_named(F, "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d", methods=False),
]
_LOGIC: list[Line] = [
    ("floordiv", operator.floordiv, [operator.floordiv, torch.floor_divide, "floor_divide"]),
    ("mod", functions.remainder, [operator.mod, torch.remainder, "remainder"]),
    ("neg", operator.neg, [operator.neg, *_both("neg negative")]),
    ("abs", operator.abs, [operator.abs, *_both("abs absolute")]),
    *_named(torch, "floor ceil fmod sum nansum nanmean cumsum diff cummax cummin logcumsumexp trace rsub"),
    ("logsumexp", torch.logsumexp, [torch.logsumexp, torch.special.logsumexp, "logsumexp"]),
    *_named(torch, "max min amin aminmax maximum minimum fmax fmin argmax argmin topk kthvalue"),
    *_named(torch, "median nanmedian mode quantile nanquantile sort msort argsort any all count_nonzero gcd lcm"),
    *(
        (name, getattr(operator, name), [getattr(operator, name), *_both(ways)])
        for name, ways in (
            ("eq", "eq"),
            ("ne", "ne not_equal"),
            ("lt", "lt less"),
            ("le", "le less_equal"),
            ("gt", "gt greater"),
            ("ge", "ge greater_equal"),
        )
    ),
    ("and", operator.and_, [operator.and_, *_both("bitwise_and")]),
    ("or", operator.or_, [operator.or_, *_both("bitwise_or")]),
    ("xor", operator.xor, [operator.xor, *_both("bitwise_xor")]),
    ("invert", operator.invert, [operator.invert, *_both("bitwise_not")]),
    ("not", operator.not_, [operator.not_]),
    ("left_shift", functions.left_shift, [operator.lshift, *_both("bitwise_left_shift")]),
    ("right_shift", operator.rshift, [operator.rshift, *_both("bitwise_right_shift")]),
    *_named(torch, "logical_and logical_or logical_xor logical_not"),
    *_named(torch, "isclose isfinite isinf isnan isneginf isposinf isreal isin bucketize searchsorted"),
    ("one_hot", F.one_hot, [F.one_hot]),
    *((name, method(name), [name]) for name in ("long", "int", "short", "char", "byte", "bool")),
]
_PLACES: list[Line] = [
    *_named(torch, "where gather take take_along_dim masked_scatter tril triu diag diag_embed diagflat"),
    ("masked_fill", torch.masked_fill, [*_both("masked_fill"), "masked_fill_"]),
    ("fill", torch.full_like, ["fill_", torch.fill]),
    *_named(torch, "scatter scatter_add scatter_reduce index_add index_copy index_fill index_reduce put"),
    ("with_items", functions.with_items, [operator.setitem]),
    ("index_put", functions.index_put, _both("index_put")),
    *_named(torch, "select_scatter slice_scatter diagonal_scatter"),
    *_named(torch, "meshgrid broadcast_tensors block_diag cartesian_prod atleast_1d atleast_2d atleast_3d"),
    ("sum_to_size", method("sum_to_size"), ["sum_to_size"]),
    ("fold", F.fold, [F.fold]),
    *_named(F, "max_unpool1d max_unpool2d max_unpool3d", methods=False),
    (
        "max_pool1d_with_indices",
        F.max_pool1d_with_indices,
        [F.max_pool1d_with_indices, torch.max_pool1d_with_indices],
    ),
    (
        "adaptive_max_pool1d_with_indices",
        F.adaptive_max_pool1d_with_indices,
        [F.adaptive_max_pool1d_with_indices, torch.adaptive_max_pool1d],
    ),
    *_named(F, "max_pool2d_with_indices max_pool3d_with_indices", methods=False),
    *_named(F, "adaptive_max_pool2d_with_indices adaptive_max_pool3d_with_indices", methods=False),
    *_named(F, "grid_sample affine_grid", methods=False),
]
_LOSSES = _named(
    F,
    "mse_loss l1_loss smooth_l1_loss huber_loss cross_entropy nll_loss kl_div binary_cross_entropy "
    "binary_cross_entropy_with_logits poisson_nll_loss hinge_embedding_loss cosine_embedding_loss "
    "margin_ranking_loss multi_margin_loss multilabel_margin_loss multilabel_soft_margin_loss soft_margin_loss "
    "triplet_margin_loss",
    methods=False,
)
_SOLVERS: list[Line] = [
    *_named(
        torch.linalg,
        "solve solve_triangular cholesky qr eigh eigvalsh svd svdvals pinv tensorinv tensorsolve",
        prefix="linalg_",
        methods=False,
    ),
    *_of_linalg("inv=inverse det slogdet matrix_exp"),
    *_named(torch, "logdet"),
]
_TABLES: list[Line] = [
    ("embedding", functions.embedding, [F.embedding]),
    ("embedding_rows", torch.embedding, [torch.embedding]),
    ("embedding_bag", functions.embedding_bag, [F.embedding_bag]),
]
DIGITAL: list[tuple[str, list[Line]]] = [
    ("does not commute with a scale", _CURVES),
    ("divides by statistics of the signal", _NORMS),
    ("multiplies signals, or one with numbers that no crossbar holds", _PRODUCTS),
    ("its kernel is no parameter: a buffer, or computed from signals", _KERNELS),
    ("arithmetic or logic that the circuit has no part for", _LOGIC),
    ("places values by numbers, or among others", _PLACES),
    ("measures an error", _LOSSES),
    ("solves or decomposes matrices", _SOLVERS),
    ("a table look-up", _TABLES),
    # Made by mapping from a batch norm that no crossbar could take.
    ("no crossbar beside it can take it exactly", [("batch_norm", functions.batch_norm, [F.batch_norm])]),
]

# ---- what looks at no value -------------------------------------------------------------------------------------

SIZES: list[Line] = [
    ("size", functions.size, ["size"]),
    ("dim", method("dim"), ["dim", "ndimension"]),
    ("number_kind", functions.number_kind, []),
    ("numel", method("numel"), ["numel", torch.numel, "nelement"]),
    ("len", len, [len]),
    ("device", functions.device, ["device"]),
    *((f"number_{name}", getattr(math, name), [getattr(math, name)]) for name in _OF_NUMBERS),
    ("number_prod", functions.number_prod, [math.prod]),
    ("expect", functions.expect, []),
    ("assert", functions.assert_true, [torch._assert]),
    ("new_zeros", method("new_zeros"), ["new_zeros"]),
    ("new_ones", method("new_ones"), ["new_ones"]),
    ("new_full", method("new_full"), ["new_full"]),
    ("zeros_like", torch.zeros_like, [torch.zeros_like, "zero_"]),
    *_named(torch, "ones_like full_like"),
]
FACTORIES = _named(torch, "zeros ones full eye arange linspace logspace tensor tril_indices triu_indices")
