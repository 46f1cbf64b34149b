"""Functions of the operations' table for which torch has none, or none that a graph from a file may call as it is."""

from __future__ import annotations

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
    "assert_true",
    "chunks",
    "device",
    "embedding",
    "expect",
    "identity",
    "in_pieces",
    "mean",
    "method",
    "mul",
    "pool_by_sign",
    "pow",
    "relu",
    "remainder",
    "repeat_interleave",
    "reshape",
    "sections",
    "size",
    "slices",
    "splits",
    "sub",
]

MOST_BITS = 64
"""Most bits of a whole number that is computed beside the tensors, such as a size."""
MOST_VALUES = 10_000
"""Most values of a list or tuple that is computed beside the tensors."""


def add(a: Any, b: Any, *, alpha: float = 1) -> Any:
    """`a + alpha b`."""
    return a + b if alpha == 1 else a + alpha * b


def sub(a: Any, b: Any, *, alpha: float = 1) -> Any:
    """`a - alpha b`."""
    return a - b if alpha == 1 else a - alpha * b


def pow(a: Any, b: Any) -> Any:
    """`a ** b`, of whole numbers within `MOST_BITS`."""
    if isinstance(a, int) and isinstance(b, int) and b > 0 and (abs(a).bit_length() * b) > MOST_BITS:
        raise HratError(f"{a} ** {b} has more than {MOST_BITS} bits; expected a number that a size can be")
    return a**b


def mul(a: Any, b: Any) -> Any:
    """`a * b`, of lists and texts within `MOST_VALUES`."""
    for one, times in ((a, b), (b, a)):
        if isinstance(one, list | tuple | str) and isinstance(times, int) and len(one) * times > MOST_VALUES:
            raise HratError(f"a list of {len(one)} repeated {times} times has more than {MOST_VALUES:,} values")
    return a * b


def remainder(a: Any, b: Any) -> Any:
    """`a % b`, of numbers and tensors."""
    if isinstance(a, str | bytes):  # which would be formatting, and may ask for a text of any length
        raise HratError("the remainder of a text; expected a number or a tensor")
    return a % b


def in_pieces(function: Callable[..., Any], pieces: Callable[..., int]) -> Callable[..., Any]:
    """A function that cuts a tensor, with a bound on the number of pieces; `pieces` counts them, or a few more."""

    def cut(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        count = pieces(x, *args, **kwargs)
        if count > MOST_VALUES:
            raise HratError(f"a tensor cut into {count:,} pieces; expected at most {MOST_VALUES:,}")
        return function(x, *args, **kwargs)

    return cut


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
    given = next(part for part in (indices_or_sections, indices, sections) if part is not None)
    return given if isinstance(given, int) else len(given) + 1


def slices(x: Tensor, dim: int = 0) -> int:
    """Pieces of `torch.unbind`."""
    return x.shape[dim]


def relu(x: Tensor, inplace: bool = False) -> Tensor:
    """`max(x, 0)`, never in place."""
    return F.relu(x)


_MAX_POOLS: dict[str, Callable[..., Tensor]] = {
    f"{kind}max_pool{dims}d": getattr(F, f"{kind}max_pool{dims}d") for kind in ("", "adaptive_") for dims in (1, 2, 3)
}


def pool_by_sign(x: Tensor, gain: Tensor, pool: str, *args: Any, **kwargs: Any) -> Tensor:
    """The largest value of each window where a channel's gain is not negative, else the smallest one.

    A circuit finds the smallest voltage as the largest one of the rails that carry its negative.

    Args:
        x: `(batch, channels, *space)`.
        gain: `(channels,)`, of which the signs count alone.
        pool: name of a maximum pooling.
        args: its arguments behind the signal.
        kwargs: those by name.
    """
    if pool not in _MAX_POOLS:
        raise HratError(f"expected one of the poolings {', '.join(_MAX_POOLS)}, got {pool!r:.100}")
    sign = torch.where(gain < 0, -1.0, 1.0).to(x.dtype).view(-1, *(1,) * (x.ndim - 2))
    return _MAX_POOLS[pool](x * sign, *args, **kwargs) * sign


def size(x: Tensor, dim: int | None = None) -> Any:
    """Shape of a tensor, or one of its sizes."""
    return tuple(x.shape) if dim is None else x.shape[dim]


def device(x: Tensor) -> torch.device:
    """Device of a tensor."""
    return x.device


def expect(got: Any, wanted: Any, place: str = "") -> None:
    """A check that a size, or a branch that depends on sizes, is that of the example input."""
    if got == wanted:
        return
    if isinstance(wanted, bool):
        what = f"the network branches on a size at {place}, and this input goes another way than the example input did"
    else:
        what = f"the network was prepared for the example input's size at {place}: expected {wanted}, got {got}"
    raise HratError(f"{what}; prepare it again with an example input of that size")


def assert_true(condition: Any, message: str) -> None:
    """An assertion of the network."""
    if not condition:
        raise HratError(message)


def identity(x: Any, *_: Any, **__: Any) -> Any:
    """The first argument as it is."""
    return x


def mean(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`torch.mean`, called as a function or a method."""
    return torch.mean(x, *args, **kwargs)


def reshape(x: Tensor, *shape: Any) -> Tensor:
    """`torch.reshape`, also for what is a view in PyTorch."""
    # `view` of what is contiguous in PyTorch may not be so after a different but equal computation.
    return x.reshape(*shape)


def repeat_interleave(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`torch.repeat_interleave`, called as a function or a method."""
    return x.repeat_interleave(*args, **kwargs)


def embedding(ids: Tensor, weight: Tensor, padding_idx: int | None = None, *_: Any, **__: Any) -> Tensor:
    """Rows of a table."""
    return F.embedding(ids, weight, padding_idx)


def method(name: str) -> Callable[..., Any]:
    """A method of tensors as a function."""

    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(x, name)(*args, **kwargs)

    return call
