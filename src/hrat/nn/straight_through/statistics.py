"""Mean and variance of each channel, by the fastest kernel there is, over all ranks that train together."""

from __future__ import annotations

import torch
from torch import Tensor

from hrat.nn.ranks import mean_over_ranks, world_size

__all__ = ["batch_norm_backward", "batch_statistics"]

batch_norm_backward = torch.ops.aten.native_batch_norm_backward.default

PLANE = 16
"""Values of a channel in an image from which on the sums of batch norm's backward kernel are the faster ones."""

LARGE_MEAN = 1e3
"""Square of a mean, in variances, beyond which these sums are not exact enough: they magnify rounding so much."""


def batch_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel (dimension 1), `(channels,)`, at least in single precision.

    Over the batch of all ranks, where several train together.
    """
    mean, var = _own_statistics(x)
    if world_size() == 1:
        return mean, var
    own, mean = mean, mean_over_ranks(mean)
    return mean, mean_over_ranks(var + (own - mean).square())


def _own_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    plain = torch.compiler.is_compiling() or x.device.type not in ("cpu", "cuda")
    if plain or (torch.is_grad_enabled() and x.requires_grad):
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        var, mean = torch.var_mean(wide, [0, *range(2, x.ndim)], correction=0)
        return mean, var
    in_planes = x.ndim > 2 and x.is_contiguous() and x.shape[2:].numel() >= PLANE
    if in_planes and x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64):
        statistics = _statistics_of_planes(x)
        if statistics is not None:
            return statistics
    # The same figures from batch norm's own kernel, several times faster on a CPU; it has no gradient. For a half type
    # it takes the precision of its results from running statistics, which a momentum of 0 leaves as they are.
    running = x.new_zeros(x.shape[1], dtype=torch.float32) if x.dtype in (torch.float16, torch.bfloat16) else None
    mean, var = torch.batch_norm_update_stats(x, running, running, 0.0)
    return mean, var


def _statistics_of_planes(x: Tensor) -> tuple[Tensor, Tensor] | None:
    """Mean and variance from `sum(x)` and `sum(x x)`, which the backward kernel of batch norm sums plane by plane.

    It does so with vector instructions and is several times faster than the forward one. None where a mean is so large
    beside the spread that the difference of the two would be of few digits.
    """
    count, zero = x.numel() // x.shape[1], x.new_zeros(x.shape[1])
    _, squares, total = batch_norm_backward(
        x, x, None, None, None, zero, torch.ones_like(zero), True, 0.0, [False, True, True]
    )
    mean = total / count
    square = mean * mean
    var = squares / count - square
    return None if bool((square > LARGE_MEAN * var).any()) else (mean, var)
