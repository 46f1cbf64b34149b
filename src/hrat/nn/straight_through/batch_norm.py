"""Batch norm by the batch's own statistics, with the bias DAC and the limits of the amplifiers behind it."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from hrat.nn.fusing import BatchNormTerms
from hrat.nn.ranks import world_size
from hrat.nn.scratch import scratch_like
from hrat.nn.straight_through.memory import clamp_backward, hardtanh_backward
from hrat.nn.straight_through.signals import OutputStage
from hrat.nn.straight_through.statistics import batch_norm_backward, batch_statistics

__all__ = ["normalise"]

DEAD = 1e-3
"""Part of a layer's largest gain below which a channel carries no signal to measure."""

NO_SIGNAL = 1e-12
"""`1 / sigma` of such a channel in the gradient: as good as zero, but not so that one could not divide by it."""


def _channels(x: Tensor) -> tuple[int, ...]:
    """Shape in which a value for each channel broadcasts against `x`."""
    return (-1, *(1,) * (x.ndim - 2))


def _affine(x: Tensor, factor: Tensor, offset: Tensor) -> Tensor:
    """`factor * x + offset` for each channel, in the type of `x`; a half type is rounded once, at the end."""
    view = _channels(x)
    out = (x * factor.view(view)).add_(offset.view(view))  # `factor` is in single precision at least
    return out.to(x.dtype)


def _batch_norm_backward_over_ranks(
    grad: Tensor, u: Tensor, factor: Tensor, mean: Tensor, inverse: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`(du, D, S, S of all ranks)` in the notation of `_Normalise`: du of the whole batch, D and S of this rank's part.

    The gradients of gamma and beta add up over the ranks when those of all parameters do.
    """
    _, along, total = batch_norm_backward(grad, u, None, None, None, mean, inverse, True, 0.0, [False, True, True])
    sums = torch.stack((along, total))
    dist.all_reduce(sums)
    per_value = factor / (u.numel() // u.shape[1] * world_size())
    slope = -per_value * inverse * sums[0]
    of_u = _affine(u, slope, -slope * mean - per_value * sums[1])
    return of_u.addcmul_(grad, factor.to(u.dtype).view(_channels(u))), along, total, sums[1]


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        alpha_out: Tensor,
        gamma: Tensor,
        beta: Tensor,
        bias: Tensor | None,
        running: BatchNormTerms,
        range_: Tensor,
        stage: OutputStage,
    ) -> tuple[Tensor, Tensor, Tensor]:
        signal = alpha_out * running.gain
        unit = signal / range_  # what 1 in digital units is in u
        size = signal.abs()
        dead = size <= size.amax() * DEAD
        mean_u, var_u = batch_statistics(u)
        # In digital units, and the mean without the bias of the operation, which batch norm takes off again.
        mean = torch.where(dead, running.mean if bias is None else running.mean - bias, mean_u / unit)
        var = torch.where(dead, running.var, var_u / (unit * unit))
        inverse = torch.rsqrt(var + running.eps)
        factor = range_ * (inverse / running.inverse)
        offset = alpha_out * (beta - gamma * inverse * mean)
        out = stage.limit_(_affine(u, factor, stage.convert(offset)))
        inverse_u = (inverse / unit).masked_fill_(dead, NO_SIGNAL)  # with the sign of gamma
        ctx.save_for_backward(u, out, alpha_out, gamma, beta, bias, offset, mean_u, inverse_u, factor)
        ctx.stage = stage
        mean = mean if bias is None else mean + bias
        ctx.mark_non_differentiable(mean, var)
        return out, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _mean: Tensor, _var: Tensor) -> tuple[Tensor | None, ...]:
        # For a channel of N values, with x^ = (u - mean) / sigma, S = sum g and D = sum g x^:
        #   y  = f u + alpha beta - f mean,   f = alpha gamma / sigma
        #   du = f (g - S/N - x^ D/N),        dgamma = alpha D,   dbeta = alpha S,   dalpha = gamma D + beta S
        # which is batch norm's own gradient, with f sigma for its weight.
        u, out, alpha_out, gamma, beta, bias, offset, mean, inverse, factor = ctx.saved_tensors
        stage: OutputStage = ctx.stage
        held = clamp_backward(grad, out, stage.low_V, stage.high_V, scratch_like(grad))
        if world_size() == 1:
            of_u, along, total = batch_norm_backward(
                held, u, factor / inverse, None, None, mean, inverse, True, 0.0, [True, True, True]
            )
            all_total = total
        else:
            of_u, along, total, all_total = _batch_norm_backward_over_ranks(held, u, factor, mean, inverse)
        if stage.dac_bits is not None:
            limits_V = -stage.periphery.v_bias_V, stage.periphery.v_bias_V
            all_through = through_dac = hardtanh_backward(total, offset, *limits_V)
            if all_total is not total:
                all_through = hardtanh_backward(all_total, offset, *limits_V)
            may_look = u.device.type == "cpu" and not torch.compiler.is_compiling()
            if not (may_look and torch.equal(all_through, all_total)):
                # A DAC that saturates passes no gradient of its argument, the rest of y: of f u alone there is
                #   du = f (g - x^ D'/N),     D' = D + S mean / sigma in place of D, and 0 in place of S.
                mean_x = mean * inverse
                change = factor * (all_total - all_through) / (u.numel() // u.shape[1] * world_size())
                of_u += _affine(u, -change * inverse * mean_x, change * (1 + mean_x * mean_x))
                along, total = torch.addcmul(along, total - through_dac, mean_x), through_dac
        along = along.masked_fill_(inverse.abs() <= NO_SIGNAL, 0.0)  # a dead channel has no x^ to go along
        of_alpha = gamma * along + beta * total
        return (
            of_u,
            of_alpha.sum() if alpha_out.ndim == 0 else of_alpha,
            alpha_out * along,
            alpha_out * total,
            None if bias is None else torch.zeros_like(bias),
            *(None, None, None),
        )


def normalise(
    u: Tensor,
    alpha_out: Tensor,
    gamma: Tensor,
    beta: Tensor,
    bias: Tensor | None,
    running: BatchNormTerms,
    range_: Tensor,
    stage: OutputStage,
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm by the batch's own statistics, on the output of a crossbar fused with the running ones.

        u    = (Q(W') + error) v_in / range,   W' = (alpha_out / alpha_in) diag(gamma / sigma_running) W
        b'   = alpha_out (beta + gamma (b - mu) / sigma)
        y    = limit(range (sigma_running / sigma) u + DAC(b'))

    The batch's `mu` and `sigma` are read off `u`, which is `alpha_out gamma / (sigma_running range)` times W x. Where
    that is less than `DEAD` of the largest, a channel carries error, not signal, and keeps the running statistics.

    One reading of `u` for the statistics and one for the rest, one new tensor. The gradient is that of
    `alpha_out (beta + gamma (u - mean(u)) / sigma(u))`, straight through the DAC where it does not saturate; the bias
    takes itself off with the mean and has a gradient of zero (not none, which DDP would take amiss).

    Args:
        u: `(batch, channels, *space)`.
        alpha_out: scale of the signal that leaves, V per unit, scalar or `(channels,)`.
        gamma: `(channels,)`.
        beta: `(channels,)`.
        bias: b, of the operation, `(channels,)` or None.
        running: batch norm with the running statistics, as fused.
        range_: gain of a full pair, scalar.
        stage: DAC and limits.

    Returns:
        `(y, mu, sigma^2)`: V; the statistics in digital units, without gradient.
    """
    return _Normalise.apply(  # type: ignore[no-any-return, no-untyped-call]
        u, alpha_out, gamma, beta, bias, running, range_, stage
    )
