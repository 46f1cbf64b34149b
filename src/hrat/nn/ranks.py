"""Several processes that train one network, each on a part of every batch (`torch.distributed`).

What batch norm learns are the statistics of the whole batch, whoever holds which part of it: as soon as a process group
is there, means and variances are those over all ranks, with their gradient. Limits: all ranks hold equally many images.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["mean_over_ranks", "world_size"]


def world_size() -> int:
    """Number of processes that train together; 1 where there is no process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _MeanOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out = x / dist.get_world_size()
        dist.all_reduce(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # Each rank's loss depends on the mean, and so on each rank's x.
        out = grad / dist.get_world_size()
        dist.all_reduce(out)
        return out


def mean_over_ranks(x: Tensor) -> Tensor:
    """Mean of each entry over the ranks, with gradient, any shape; `x` itself where there is one rank only."""
    return _MeanOverRanks.apply(x) if world_size() > 1 else x  # type: ignore[no-untyped-call]
