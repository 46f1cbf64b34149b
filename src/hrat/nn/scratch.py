"""Memory for what lives within one function call only.

On a CPU a large new tensor costs several times what it takes to fill it once more: the system hands out fresh pages
and takes them back each time. One buffer for each thread and number type, as large as the largest tensor so far, saves
that. Other devices and compiled code manage their memory themselves.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor

__all__ = ["scratch_like"]

_buffers = threading.local()


def scratch_like(x: Tensor) -> Tensor:
    """Uninitialised memory of the shape, strides and type of `x`. The next call in this thread overwrites it.

    Never return it, save it for a backward pass, or hold it over a call of code that may use scratch memory as well.
    """
    contiguous = x.is_contiguous()
    if torch.compiler.is_compiling() or x.device.type != "cpu" or not (contiguous or _channels_last(x)):
        return torch.empty_like(x)
    buffers: dict[Any, Tensor] = _buffers.__dict__
    buffer = buffers.get(x.dtype)
    if buffer is None or buffer.numel() < x.numel():
        buffer = buffers[x.dtype] = torch.empty(x.numel(), dtype=x.dtype)
    part = buffer[: x.numel()]
    return part.view(x.shape) if contiguous else part.as_strided(x.shape, x.stride())


def _channels_last(x: Tensor) -> bool:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.ndim in formats and x.is_contiguous(memory_format=formats[x.ndim])
