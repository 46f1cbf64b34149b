"""Reused memory and cache-sized parts, for speed on a CPU. Other devices and compiled code need neither.

A large new tensor costs several times what it takes to fill it once more: the system hands out fresh pages and takes
them back each time. One buffer for each thread and number type, as large as the largest tensor so far, saves that.

Several operations on a large tensor, one after the other, fetch it from memory each time. Done part by part they find
it in the processor's cache.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

__all__ = ["in_parts", "scratch_like"]

PART = 2**18
"""Numbers in a part: a megabyte in single precision."""

_buffers = threading.local()


def scratch_like(x: Tensor) -> Tensor:
    """Uninitialised memory of the shape, strides and type of `x`. The next call in this thread overwrites it.

    Never return it, save it for a backward pass, or hold it over a call of code that may use scratch memory as well.
    """
    if torch.compiler.is_compiling() or x.device.type != "cpu" or not (x.is_contiguous() or _channels_last(x)):
        return torch.empty_like(x)
    buffers: dict[Any, Tensor] = _buffers.__dict__
    buffer = buffers.get(x.dtype)
    if buffer is None or buffer.numel() < x.numel():
        buffer = buffers[x.dtype] = torch.empty(x.numel(), dtype=x.dtype)
    return buffer.as_strided(x.shape, x.stride())


def in_parts(first: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Pieces of tensors that belong together, cut along the first dimension; a scalar belongs to every piece.

    Args:
        first: sets the size of the pieces.
        others: scalars, or of as many rows as `first`.
    """
    tensors = (first, *others)
    if first.numel() <= PART or first.device.type != "cpu" or torch.compiler.is_compiling():
        yield tensors
        return
    rows = max(1, PART * first.shape[0] // first.numel())
    yield from zip(*(repeat(x) if x.ndim == 0 else x.split(rows) for x in tensors), strict=False)


def _channels_last(x: Tensor) -> bool:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.ndim in formats and x.is_contiguous(memory_format=formats[x.ndim])
