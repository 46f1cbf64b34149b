"""The restrictions as autograd functions: the chip's formula forward, a straight-through gradient backward.

Forward, each function calls the formula of `hrat.physics` or `hrat.encoding` that the simulation of a chip uses as
well. Backward, rounding lets the gradient through unchanged, and a clamp or a saturating converter stops it for what
lies beyond the limit. The gradients are written out so that each large tensor is read few times and little is saved.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from hrat.encoding import Geometry, encode_pair, quantise_fraction_
from hrat.nn.functional import BatchNormTerms
from hrat.nn.ranks import mean_over_ranks, world_size
from hrat.nn.scratch import in_parts, scratch_like
from hrat.physics import convert
from hrat.spec import Device

__all__ = [
    "OutputStage",
    "apply_to_digital_input",
    "batch_statistics",
    "convert_ste",
    "normalise",
    "pair_of",
    "realise",
]

_hardtanh_backward = torch.ops.aten.hardtanh_backward.default
_hardtanh_backward_out = torch.ops.aten.hardtanh_backward.grad_input
_batch_norm_backward = torch.ops.aten.native_batch_norm_backward.default

DEAD = 1e-3
"""Part of a layer's largest gain below which a channel carries no signal to measure."""

PLANE = 16
"""Values of a channel in an image from which on the sums of batch norm's backward kernel are the faster ones."""

LARGE_MEAN = 1e3
"""Square of a mean, in variances, beyond which these sums are not exact enough: by so much they magnify rounding."""

NO_SIGNAL = 1e-12
"""`1 / sigma` of such a channel in the gradient: as good as zero, but not so that one could not divide by it."""


class _Convert(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, voltage_V: Tensor, bits: int, full_scale_V: float) -> Tensor:
        ctx.save_for_backward(voltage_V)
        ctx.full_scale_V = full_scale_V
        return convert(voltage_V, bits, full_scale_V)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (voltage_V,) = ctx.saved_tensors
        return grad * (voltage_V.abs() <= ctx.full_scale_V), None, None


def convert_ste(voltage_V: Tensor, bits: int, full_scale_V: float) -> Tensor:
    """A DAC or ADC of `bits` over `+-full_scale_V`: volts in, volts out; gradient 1 inside, 0 where it saturates."""
    return _Convert.apply(voltage_V, bits, full_scale_V)  # type: ignore[no-any-return, no-untyped-call]


def _product(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    """`a * b` in the memory of `out`; a compiler, which sees to memory itself, does not take it in every layout."""
    return out.copy_(a * b) if torch.compiler.is_compiling() else torch.mul(a, b, out=out)


def _clamp_backward(grad: Tensor, x: Tensor, low: float, high: float, out: Tensor) -> Tensor:
    """`grad` where `x`, clamped or not yet, lies between the limits, else 0; written into `out`, which may be `x`."""
    if torch.compiler.is_compiling():
        return out.copy_(_hardtanh_backward(grad, x, low, high))
    held: Tensor = _hardtanh_backward_out(grad, x, low, high, grad_input=out)
    return held


# ---- weights -----------------------------------------------------------------------------------------------------


def _by_outputs(geometry: Geometry, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """`in_parts` of the shape of the weight; a transposed convolution, whose rows are inputs, stays whole."""
    return iter((tensors,)) if geometry.kind == "conv_transpose" else in_parts(*tensors)


class _Realise(torch.autograd.Function):
    """Notation: `s` gain and `n` norm of an output channel's weights, `R` range, `k = s / R` (`per_window`)."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, gain: Tensor, log_range: Tensor, geometry: Geometry, device: Device
    ) -> tuple[Tensor, Tensor]:
        norm = geometry.out_norm(weight)
        size = gain * norm
        tiny = torch.finfo(weight.dtype).tiny ** 0.5  # a layer of zeros must not divide by zero
        whole = torch.linalg.vector_norm(size).clamp_(min=tiny)
        range_ = whole * log_range.exp().mul_(weight.numel() ** -0.5)
        per_window = gain / range_
        ctx.save_for_backward(weight, gain, norm, per_window, range_, whole)
        ctx.geometry = geometry
        ctx.set_materialize_grads(False)
        fraction = torch.empty_like(weight)
        for part, w, k in in_parts(fraction, weight, geometry.out_view(per_window)):
            quantise_fraction_(_product(w, k, part), device)
        return fraction, range_

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_fraction: Tensor | None, grad_range: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        weight, gain, norm, per_window, range_, whole = ctx.saved_tensors
        geometry: Geometry = ctx.geometry
        of_log_range = None if grad_range is None else grad_range * range_
        of_gain = passed = None
        if grad_fraction is not None:
            # Beyond the window the states saturate and the gradient stops; W k is cheaper made anew than kept.
            passed, view, dots = torch.empty_like(weight), geometry.out_view(per_window), []
            for part, w, k, grad in _by_outputs(geometry, passed, weight, view, grad_fraction):
                _clamp_backward(grad, _product(w, k, part), -1.0, 1.0, part)
                dots.append(geometry.out_sum(_product(part, w, scratch_like(part))))
            of_window = dots[0] if len(dots) == 1 else torch.cat(dots)
            if per_window.ndim == 0:
                of_window = of_window.sum()
            through_window = (of_window * per_window).sum().neg_()
            of_log_range = through_window if of_log_range is None else of_log_range + through_window
            of_gain = of_window / range_
        if of_log_range is None:
            return None, None, None, None, None
        # R = exp(log_range) |s n| / sqrt(numel): dR/ds = R s n^2 / |s n|^2, dR/dW = R s^2 W / |s n|^2
        share = gain * (of_log_range / (whole * whole))
        of_range = share * norm * norm
        if gain.ndim == 0:
            of_range = of_range.sum()
        if of_gain is not None:
            of_range += of_gain
        of_size = geometry.out_view(share * gain)
        if passed is None:
            return weight * of_size, of_range, of_log_range, None, None
        for part, w, k, size in in_parts(passed, weight, view, of_size):
            part.mul_(k).addcmul_(w, size)
        return passed, of_range, of_log_range, None, None


def realise(
    weight: Tensor, gain: Tensor, log_range: Tensor, geometry: Geometry, device: Device
) -> tuple[Tensor, Tensor]:
    """`Q(W')` as a fraction of the conductance window, and the window itself.

        W'       = diag(gain) W
        range    = exp(log_range) * rms(W')
        fraction = quantise(W' / range)                  [gradient 1 inside the window, 0 beyond it]

    The window follows the size of the weights, so that a change of scale leaves its use as it is.

    Args:
        weight: PyTorch layout, `geometry.weight_shape`.
        gain: what batch norm and scales multiply each output channel's weights by, `(out,)` or a scalar.
        log_range: scalar, the learned part of the window.
        geometry: the operation.
        device: the memristor, whose states are the realisable fractions.

    Returns:
        `(fraction, range)`: the layout of `weight`, dimensionless; and the gain of a full pair,
        `R_f * (g_max_S - g_min_S)`, scalar.
    """
    return _Realise.apply(weight, gain, log_range, geometry, device)  # type: ignore[no-any-return, no-untyped-call]


def pair_of(fraction: Tensor, device: Device) -> tuple[Tensor, Tensor]:
    """`hrat.encoding.encode_pair`, with the gradient of a weight of zero shared by its partners: their sum is 1.

    Args:
        fraction: of the window, realisable, any shape.
        device: the memristor.

    Returns:
        `(G+, G-)`, S, each of the shape of `fraction`.
    """
    if device.pairs == "centred":
        return encode_pair(fraction, device)  # linear between states: half of the gradient for either partner
    lowest_S, half_S = device.states_S[0], device.g_range_S / 2
    size = fraction.abs()  # its gradient at zero is 0; that of a clamp would be 1 for either partner
    return lowest_S + (size + fraction) * half_S, lowest_S + (size - fraction) * half_S


# ---- signals -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OutputStage:
    """What stands behind the bit lines of a layer: the bias DAC and the limits of the amplifier."""

    dac_bits: int | None
    """None: the bias has no steps."""
    dac_full_scale_V: float
    low_V: float
    high_V: float
    """Limits of the output, infinite where there is none."""

    def bias(self, bias_V: Tensor) -> Tensor:
        """What the DAC makes of a bias, V; straight-through gradient."""
        return bias_V if self.dac_bits is None else convert_ste(bias_V, self.dac_bits, self.dac_full_scale_V)

    def convert(self, bias_V: Tensor) -> Tensor:
        """The same without a gradient."""
        return bias_V if self.dac_bits is None else convert(bias_V, self.dac_bits, self.dac_full_scale_V)

    def limit_(self, voltage_V: Tensor) -> Tensor:
        """Hold the amplifier's output within its limits, in place, V; gradient 0 beyond them."""
        if not math.isfinite(self.low_V) and not math.isfinite(self.high_V):
            return voltage_V
        # The same values as `hrat.physics.clamp_to`; its gradient needs the result and not what was overwritten.
        return F.hardtanh(voltage_V, self.low_V, self.high_V, inplace=True)


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
        found = _statistics_of_planes(x)
        if found is not None:
            return found
    # The same figures from batch norm's own kernel, several times faster on a CPU; it has no gradient. For a half type
    # it takes the precision of its results from running statistics, which a momentum of 0 leaves as they are.
    running = x.new_zeros(x.shape[1], dtype=torch.float32) if x.dtype in (torch.float16, torch.bfloat16) else None
    mean, var = torch.batch_norm_update_stats(x, running, running, 0.0)
    return mean, var


def _statistics_of_planes(x: Tensor) -> tuple[Tensor, Tensor] | None:
    """The same from `sum(x)` and `sum(x x)`, which the backward kernel of batch norm takes plane by plane.

    It does so with vector instructions and is several times faster than the forward one. None where a mean is so large
    beside the spread that the difference of the two would be of few digits.
    """
    count, zero = x.numel() // x.shape[1], x.new_zeros(x.shape[1])
    _, squares, total = _batch_norm_backward(
        x, x, None, None, None, zero, torch.ones_like(zero), True, 0.0, [False, True, True]
    )
    mean = total / count
    square = mean * mean
    var = squares / count - square
    return None if bool((square > LARGE_MEAN * var).any()) else (mean, var)


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
    _, along, total = _batch_norm_backward(grad, u, None, None, None, mean, inverse, True, 0.0, [False, True, True])
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
        unit = signal / range_  # what 1 in normal scale is in u
        size = signal.abs()
        dead = size <= size.amax() * DEAD
        mean_u, var_u = batch_statistics(u)
        # In normal scale, and the mean without the bias of the operation, which batch norm takes off again.
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
        held = _clamp_backward(grad, out, stage.low_V, stage.high_V, scratch_like(grad))
        if world_size() == 1:
            of_u, along, total = _batch_norm_backward(
                held, u, factor / inverse, None, None, mean, inverse, True, 0.0, [True, True, True]
            )
            all_total = total
        else:
            of_u, along, total, all_total = _batch_norm_backward_over_ranks(held, u, factor, mean, inverse)
        if stage.dac_bits is not None:
            limits_V = -stage.dac_full_scale_V, stage.dac_full_scale_V
            all_through = through_dac = _hardtanh_backward(total, offset, *limits_V)
            if all_total is not total:
                all_through = _hardtanh_backward(all_total, offset, *limits_V)
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


class _WithScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, out: Tensor, alpha: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, limit_V: float
    ) -> Tensor:
        ctx.save_for_backward(alpha, x, weight)
        ctx.geometry, ctx.limit_V = geometry, limit_V
        ctx.mark_dirty(out)  # the very same tensor, which the amplifier's limits may then change in place
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        alpha, x, weight = ctx.saved_tensors
        # dv/dalpha is x where the DAC does not saturate: up to the limit and at it, where the largest input may lie.
        scaled, limit_V = _product(x, alpha, scratch_like(x)), ctx.limit_V * (1 + torch.finfo(x.dtype).eps)
        tangent = _clamp_backward(x, scaled, -limit_V, limit_V, scaled)
        along = ctx.geometry.apply(tangent.to(grad.dtype), weight.to(grad.dtype))
        return grad, torch.dot(grad.flatten(), along.flatten()).to(alpha.dtype), None, None, None, None


def apply_to_digital_input(
    geometry: Geometry,
    voltage: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    x: Tensor,
    alpha: Tensor,
    limit_V: float,
) -> Tensor:
    """The operation on `voltage = DAC(alpha x)`, where the gradient of `x` itself is not wanted.

    Of the gradient of all voltages training needs only the sum `dL/dalpha = sum(dL/dv * dv/dalpha)`. The operation is
    linear, so that this is `sum(dL/dout * operation(dv/dalpha))`: the operation once more in place of its transpose,
    which for the few channels of an image is many times slower.

    Args:
        geometry: the operation.
        voltage: what the DAC makes of `alpha x`, V.
        weight: of `geometry.weight_shape`.
        bias: `(out,)`.
        x: digital input, of the shape of `voltage`.
        alpha: scalar, V per unit.
        limit_V: where the DAC saturates.
    """
    out = geometry.apply(voltage.detach(), weight, bias)
    if not (torch.is_grad_enabled() and alpha.requires_grad):
        return out
    return _WithScaleGradient.apply(out, alpha, x, weight.detach(), geometry, limit_V)  # type: ignore[no-any-return, no-untyped-call]


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
    """Batch norm by the batch's own statistics, on what a crossbar that was fused with the running ones yields.

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
        `(y, mu, sigma^2)`: V; the statistics in normal scale, without gradient.
    """
    return _Normalise.apply(  # type: ignore[no-any-return, no-untyped-call]
        u, alpha_out, gamma, beta, bias, running, range_, stage
    )
