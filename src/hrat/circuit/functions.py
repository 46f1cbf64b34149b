"""Functions of the operations' table for which torch has none, or none that a graph from a file may call as it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hrat.errors import HratError

__all__ = [
    "MOST_BITS",
    "MOST_VALUES",
    "add",
    "as_another",
    "assert_true",
    "attention",
    "batch_norm",
    "chunks",
    "device",
    "div",
    "embedding",
    "embedding_bag",
    "expect",
    "identity",
    "in_pieces",
    "index_put",
    "instance_norm",
    "left_shift",
    "listed",
    "method",
    "mul",
    "number_kind",
    "number_prod",
    "pool_by_sign",
    "pow",
    "relu",
    "remainder",
    "repeat_interleave",
    "reshape",
    "rrelu",
    "sections",
    "size",
    "slices",
    "splits",
    "sub",
    "type",
    "with_items",
]

MOST_BITS = 64
"""Most bits of a whole number that is computed beside the tensors, such as a size."""
MOST_VALUES = 10_000
"""Most values of a list or tuple that is computed beside the tensors."""


def as_another(function: Callable[..., Any], other: Any) -> Callable[..., Any]:
    """A function with name and arguments of another one, or of a Tensor method."""
    function.__name__ = other if isinstance(other, str) else other.__name__
    function.of_function = getattr(other, "of_function", other)  # type: ignore[attr-defined]  # see signatures
    return function


def add(input: Any, other: Any, *, alpha: float = 1) -> Any:
    """`input + alpha other`."""
    return input + other if alpha == 1 else input + alpha * other


def sub(input: Any, other: Any, *, alpha: float = 1) -> Any:
    """`input - alpha other`."""
    return input - other if alpha == 1 else input - alpha * other


def pow(input: Any, exponent: Any) -> Any:
    """`input ** exponent`, of whole numbers within `MOST_BITS`."""
    whole = isinstance(input, int) and isinstance(exponent, int) and exponent > 0
    if whole and abs(input).bit_length() * exponent > MOST_BITS:
        raise HratError(f"{input} ** {exponent} has more than {MOST_BITS} bits; expected a number that a size can be")
    return input**exponent


def mul(input: Any, other: Any) -> Any:
    """`input * other`, of lists and texts within `MOST_VALUES`."""
    for one, times in ((input, other), (other, input)):
        if isinstance(one, list | tuple | str) and isinstance(times, int) and len(one) * times > MOST_VALUES:
            raise HratError(f"a list of {len(one)} repeated {times} times has more than {MOST_VALUES:,} values")
    return input * other


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    """`input / other`, rounded as `torch.div` rounds."""
    return input / other if rounding_mode is None else torch.div(input, other, rounding_mode=rounding_mode)


def remainder(input: Any, other: Any) -> Any:
    """`input % other`, of numbers and tensors."""
    if isinstance(input, str | bytes):  # which would be formatting, and may ask for a text of any length
        raise HratError("the remainder of a text; expected a number or a tensor")
    return input % other


def left_shift(input: Any, other: Any) -> Any:
    """`input << other`, of whole numbers within `MOST_BITS`."""
    if isinstance(input, int) and isinstance(other, int) and abs(input).bit_length() + other > MOST_BITS:
        raise HratError(f"{input} << {other} has more than {MOST_BITS} bits; expected a number that a size can be")
    return input << other


def number_prod(iterable: Any, *, start: Any = 1) -> Any:
    """`math.prod`, of numbers."""
    for number in (*iterable, start):
        if not isinstance(number, int | float):  # a list or text would be repeated
            raise HratError(f"math.prod of a {number.__class__.__name__}; expected numbers, such as sizes")
    return math.prod(iterable, start=start)


def in_pieces(function: Callable[..., Any], pieces: Callable[..., int]) -> Callable[..., Any]:
    """A function that cuts a tensor, with a bound on the number of pieces; `pieces` counts them, or a few more."""

    def cut(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        count = pieces(x, *args, **kwargs)
        if count > MOST_VALUES:
            raise HratError(f"a tensor cut into {count:,} pieces; expected at most {MOST_VALUES:,}")
        return function(x, *args, **kwargs)

    return as_another(cut, function)


def chunks(x: Tensor, chunks: int, dim: int = 0) -> int:
    """Pieces of `torch.chunk`."""
    return min(chunks, x.shape[dim])


def splits(x: Tensor, split_size: Any = None, dim: int = 0, *, split_size_or_sections: Any = None) -> int:
    """Pieces of `torch.split`."""
    size = split_size_or_sections if split_size is None else split_size
    return -(-x.shape[dim] // max(size, 1)) if isinstance(size, int) else len(size)


def sections(
    x: Tensor, indices_or_sections: Any = None, dim: int = 0, *, indices: Any = None, sections: Any = None
) -> int:
    """Pieces of `torch.tensor_split`."""
    del dim
    given = next((part for part in (indices_or_sections, indices, sections) if part is not None), None)
    if given is None:
        raise HratError("a tensor cut without a number of pieces; expected a number or places")
    return given if isinstance(given, int) else len(given) + 1


def slices(x: Tensor, dim: int = 0) -> int:
    """Pieces of `torch.unbind`."""
    return x.shape[dim]


def listed(x: Tensor, split_sizes: Any, dim: int = 0) -> int:
    """Pieces of `torch.split_with_sizes`."""
    del x, dim
    return len(split_sizes)


_MAX_POOLS: dict[str, Callable[..., Tensor]] = {
    f"{kind}max_pool{dims}d": getattr(F, f"{kind}max_pool{dims}d") for kind in ("", "adaptive_") for dims in (1, 2, 3)
}


def pool_by_sign(input: Tensor, gain: Tensor, pool: str, *args: Any, **kwargs: Any) -> Tensor:
    """The largest value of each window where a channel's gain is not negative, else the smallest one.

    A circuit finds the smallest voltage as the largest one of the rails that carry its negative.

    Args:
        input: `(batch, channels, *space)`.
        gain: `(channels,)`, of which the signs count alone.
        pool: name of a maximum pooling.
        args: its arguments behind the signal.
        kwargs: those by name.
    """
    if pool not in _MAX_POOLS:
        raise HratError(f"expected one of the poolings {', '.join(_MAX_POOLS)}, got {pool!r:.100}")
    sign = torch.where(gain < 0, -1.0, 1.0).to(input.dtype).view(-1, *(1,) * (input.ndim - 2))
    return _MAX_POOLS[pool](input * sign, *args, **kwargs) * sign


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """`max(input, 0)`, never in place."""
    return F.relu(input)


def rrelu(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """`F.rrelu` outside of training: a leaky ReLU of the mean slope."""
    if training:
        raise HratError("rrelu draws its slopes in training, so that no chip could be what was trained")
    return F.rrelu(input, lower, upper)


def size(input: Tensor, dim: int | None = None) -> Any:
    """Shape of a tensor, or one of its sizes."""
    return tuple(input.shape) if dim is None else input.shape[dim]


def device(input: Tensor) -> torch.device:
    """Device of a tensor."""
    return input.device


def number_kind(input: Tensor) -> str:
    """Kind of a tensor's numbers in words."""
    if input.dtype is torch.bool:
        return "truth values"
    return "real numbers" if input.is_floating_point() else "complex numbers" if input.is_complex() else "whole numbers"


def with_items(input: Tensor, index: Any, value: Any) -> Tensor:
    """A copy of `input` in which `input[index]` is `value`."""
    made = input.clone()
    made[index] = value
    return made


def expect(got: Any, wanted: Any, place: str = "") -> None:
    """A check that a size, or a branch that depends on sizes, is that of the example input."""
    if got == wanted:
        return
    if isinstance(wanted, bool):
        what = f"the network branches on a size at {place}, and this input goes another way than the example input did"
    elif isinstance(wanted, str):
        what = f"the network was prepared for {wanted} at {place}, got {got}"
    else:
        what = f"the network was prepared for the example input's size at {place}: expected {wanted}, got {got}"
    kind = "kind" if isinstance(wanted, str) else "size"
    raise HratError(f"{what}; prepare it again with an example input of that {kind}")


def assert_true(condition: Any, message: str) -> None:
    """An assertion of the network."""
    if not condition:
        raise HratError(message)


def identity(input: Any, *_: Any) -> Any:
    """The first argument as it is."""
    return input


def type(input: Tensor, dtype: torch.dtype, non_blocking: bool = False) -> Tensor:
    """`input.type(dtype)`."""
    if not isinstance(dtype, torch.dtype):
        raise HratError(f"type({dtype!r}); expected a number type such as torch.float32")
    return input.type(dtype)


def reshape(input: Tensor, *shape: Any) -> Tensor:
    """`torch.reshape`, also for what is a view in PyTorch."""
    if isinstance(shape[0], torch.dtype):
        raise HratError(f"view({shape[0]}) reads bits as another number type; expected sizes")
    # `view` of what is contiguous in PyTorch may not be so after a different but equal computation.
    return input.reshape(*shape)


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """`F.embedding`, which leaves the table as it is: rows longer than `max_norm` are shortened where they are read."""
    rows = F.embedding(input, weight, padding_idx, None, norm_type, scale_grad_by_freq, sparse)
    return rows if max_norm is None else _shortened(rows, max_norm, norm_type)


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """`F.embedding_bag`, which leaves the table as it is: rows longer than `max_norm` are shortened."""
    table = weight if max_norm is None else _shortened(weight, max_norm, norm_type)
    return F.embedding_bag(
        input,
        table,
        offsets,
        None,
        norm_type,
        scale_grad_by_freq,
        mode,
        sparse,
        per_sample_weights,
        include_last_offset,
        padding_idx,
    )


def index_put(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """`torch.index_put`, of a list or tuple of indices."""
    return torch.index_put(input, tuple(indices), values, accumulate)


def repeat_interleave(input: Tensor, repeats: Any, dim: int | None = None, *, output_size: int | None = None) -> Tensor:
    """`torch.repeat_interleave` of a tensor."""
    return torch.repeat_interleave(input, repeats, dim, output_size=output_size)


def _shortened(rows: Tensor, max_norm: float, norm_type: float) -> Tensor:
    """Rows of at most a norm; to gradients they are the rows of a table that was shortened before, as in PyTorch."""
    norms = rows.detach().norm(norm_type, dim=-1, keepdim=True)
    # As torch.embedding_renorm_ has it.
    shorter = torch.where(norms > max_norm, rows.detach() * (max_norm / (norms + 1e-7)), rows.detach())
    return rows + (shorter - rows.detach())


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`F.batch_norm` that changes no statistics."""
    if training and running_mean is not None:
        raise HratError("batch_norm with training=True changes its running statistics at each call; expected False")
    return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`F.instance_norm` that changes no statistics."""
    if use_input_stats and running_mean is not None:
        raise HratError(
            "instance_norm with use_input_stats=True changes its running statistics at each call; expected False"
        )
    return F.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`F.scaled_dot_product_attention` without dropout."""
    if dropout_p:
        raise HratError(f"attention with dropout_p={dropout_p} is random; expected 0 outside of training")
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa
    )


def method(name: str) -> Callable[..., Any]:
    """A method of tensors as a function."""

    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(x, name)(*args, **kwargs)

    return as_another(call, name)
