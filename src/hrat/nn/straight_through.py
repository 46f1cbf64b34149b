"""The restrictions as autograd functions: the chip's formula forward, a straight-through gradient backward.

Forward, each function calls the formula of `hrat.physics` or `hrat.encoding` that the simulation of a chip uses as
well. Backward, rounding lets the gradient through unchanged, and a clamp or a saturating converter stops it for what
lies beyond the limit. The gradients are written out so that each large tensor is read few times and little is saved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from hrat.encoding import Geometry, encode_pair, quantise_fraction_
from hrat.nn.scratch import scratch_like
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


def _clamp_backward(grad: Tensor, x: Tensor, low: float, high: float, scratch: Tensor) -> Tensor:
    """`grad` where `x`, clamped or not yet, lies between the limits, else 0; may be written into `scratch`."""
    held: Tensor
    if torch.compiler.is_compiling():
        held = torch.ops.aten.hardtanh_backward(grad, x, low, high)
    else:
        held = torch.ops.aten.hardtanh_backward.grad_input(grad, x, low, high, grad_input=scratch)
    return held


# ---- weights -----------------------------------------------------------------------------------------------------


class _Realise(torch.autograd.Function):
    """Notation: `s` gain and `n` norm of an output channel's weights, `R` range, `k = s / R` (`per_window`)."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, gain: Tensor, log_range: Tensor, geometry: Geometry, device: Device
    ) -> tuple[Tensor, Tensor, Tensor]:
        norm = geometry.out_norm(weight)
        size = gain * norm
        tiny = torch.finfo(weight.dtype).tiny ** 0.5  # a layer of zeros must not divide by zero
        whole = torch.linalg.vector_norm(size).clamp_(min=tiny)
        range_ = whole * log_range.exp().mul_(weight.numel() ** -0.5)
        per_window = gain / range_
        ctx.save_for_backward(weight, gain, norm, per_window, range_, whole)
        ctx.geometry = geometry
        ctx.mark_non_differentiable(per_window)
        ctx.set_materialize_grads(False)
        fraction = quantise_fraction_(weight * geometry.out_view(per_window), device)
        return fraction, range_, per_window

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_fraction: Tensor | None, grad_range: Tensor | None, _: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        weight, gain, norm, per_window, range_, whole = ctx.saved_tensors
        geometry: Geometry = ctx.geometry
        of_log_range = None if grad_range is None else grad_range * range_
        of_gain = passed = None
        if grad_fraction is not None:
            view = geometry.out_view(per_window)
            # Beyond the window the states saturate and the gradient stops; W k is cheaper made anew than kept.
            scratch = scratch_like(weight)
            passed = _clamp_backward(grad_fraction, torch.mul(weight, view, out=scratch), -1.0, 1.0, scratch)
            of_window = geometry.out_dot(passed, weight)
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
        of_weight = weight * geometry.out_view(share * gain)
        if passed is not None:
            of_weight.addcmul_(passed, view)
        return of_weight, of_range if of_gain is None else of_range.add_(of_gain), of_log_range, None, None


def realise(
    weight: Tensor, gain: Tensor, log_range: Tensor, geometry: Geometry, device: Device
) -> tuple[Tensor, Tensor, Tensor]:
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
        `(fraction, range, gain / range)`: the layout of `weight`, dimensionless; the gain of a full pair,
        `R_f * (g_max_S - g_min_S)`, scalar; and what each output channel's weights were multiplied by, without
        gradient.
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

    def limit_(self, voltage_V: Tensor) -> Tensor:
        """Hold the amplifier's output within its limits, in place, V; gradient 0 beyond them."""
        if not math.isfinite(self.low_V) and not math.isfinite(self.high_V):
            return voltage_V
        # The same values as `hrat.physics.clamp_to`; its gradient needs the result and not what was overwritten.
        return F.hardtanh(voltage_V, self.low_V, self.high_V, inplace=True)


def batch_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel (dimension 1), `(channels,)`, at least in single precision."""
    plain = torch.compiler.is_compiling() or x.device.type not in ("cpu", "cuda")
    if plain or (torch.is_grad_enabled() and x.requires_grad):
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        var, mean = torch.var_mean(wide, [0, *range(2, x.ndim)], correction=0)
        return mean, var
    # The same figures from batch norm's own kernel, several times faster on a CPU; it has no gradient. For a half type
    # it takes the precision of its results from running statistics, which a momentum of 0 leaves as they are.
    running = x.new_zeros(x.shape[1], dtype=torch.float32) if x.dtype in (torch.float16, torch.bfloat16) else None
    mean, var = torch.batch_norm_update_stats(x, running, running, 0.0)
    return mean, var


def _channels(x: Tensor) -> tuple[int, ...]:
    """Shape in which a value for each channel broadcasts against `x`."""
    return (-1, *(1,) * (x.ndim - 2))


def _affine(x: Tensor, factor: Tensor, offset: Tensor) -> Tensor:
    """`factor * x + offset` for each channel, in the type of `x`; a half type is rounded once, at the end."""
    view = _channels(x)
    out = (x * factor.view(view)).add_(offset.view(view))  # `factor` is in single precision at least
    return out.to(x.dtype)


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        gamma: Tensor,
        beta: Tensor,
        eps: Tensor,
        dead: Tensor,
        dead_gain: Tensor,
        dead_mean: Tensor,
        stage: OutputStage,
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, var = batch_statistics(u)
        inverse = (var + eps).masked_fill_(dead, 1.0).rsqrt_()
        factor = torch.where(dead, dead_gain, gamma * inverse)
        offset = beta - factor * torch.where(dead, dead_mean, mean)
        out = stage.limit_(_affine(u, factor, stage.bias(offset)))
        ctx.save_for_backward(u, out, offset, mean, inverse, factor, dead)
        ctx.stage = stage
        ctx.mark_non_differentiable(mean, var)
        return out, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _mean: Tensor, _var: Tensor) -> tuple[Tensor | None, ...]:
        # For a channel of N values, with x^ = (u - mean) / sigma, S = sum g and D = sum g x^:
        #   y  = f u + b - f mean,        f = gamma / sigma
        #   du = f (g - S/N - x^ D/N),    dgamma = D,   db = S
        # and where the DAC saturates, its argument b - f mean has no gradient:
        #   du = f (g - x^ D'/N),         dgamma = D' = D + S mean / sigma,   db = 0.
        u, out, offset, mean, inverse, factor, dead = ctx.saved_tensors
        stage: OutputStage = ctx.stage
        held = _clamp_backward(grad, out, stage.low_V, stage.high_V, scratch_like(grad))
        # Batch norm's own backward has D and S in one pass: they are the gradients of its weight and bias.
        _, along, total = torch.ops.aten.native_batch_norm_backward(
            held, u, None, None, None, mean, inverse, True, 0.0, [False, True, True]
        )
        through_dac = total
        if stage.dac_bits is not None:
            saturates = offset.abs() > stage.dac_full_scale_V
            through_dac = total.masked_fill(saturates, 0.0)
            along = torch.addcmul(along, total - through_dac, mean * inverse)
        along = along.masked_fill(dead, 0.0)
        per_value = factor / (u.numel() // u.shape[1])
        of_u = -per_value * inverse * along
        constant = -of_u * mean - per_value * through_dac
        grad_u = _affine(u, of_u, constant).addcmul_(held, factor.to(u.dtype).view(_channels(u)))
        return grad_u, along, through_dac, None, None, None, None, None


class _WithScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, out: Tensor, alpha: Tensor, tangent: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(tangent, weight)
        ctx.geometry = geometry
        ctx.mark_dirty(out)  # the very same tensor, which the amplifier's limits may then change in place
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tangent, weight = ctx.saved_tensors
        along = ctx.geometry.apply(tangent.to(grad.dtype), weight.to(grad.dtype))
        return grad, torch.dot(grad.flatten(), along.flatten()).to(tangent.dtype), None, None, None


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
    with torch.no_grad():
        tangent = x * (x.abs() <= limit_V / alpha)
    return _WithScaleGradient.apply(out, alpha, tangent, weight.detach(), geometry)  # type: ignore[no-any-return, no-untyped-call]


def normalise(
    u: Tensor,
    gamma: Tensor,
    beta: Tensor,
    eps: Tensor,
    dead: Tensor,
    dead_gain: Tensor,
    dead_mean: Tensor,
    stage: OutputStage,
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm by the batch's own statistics, with its offset through the bias DAC, and the amplifier's limits.

        y = limit(f u + DAC(beta - f mean(u))),   f = gamma / sqrt(var(u) + eps)

    One reading of `u` for the statistics and one for the rest, one new tensor; the gradient is that of the formula,
    straight through the DAC where it does not saturate.

    Args:
        u: `(batch, channels, *space)`.
        gamma: `(channels,)`, like all that follow.
        beta: V.
        eps: added to the variance.
        dead: true for channels that carry no signal to measure. They take fixed values instead:
        dead_gain: in place of `f`, scalar, and
        dead_mean: in place of `mean(u)`.
        stage: DAC and limits.

    Returns:
        `(y, mean(u), var(u))`, the statistics without gradient.
    """
    return _Normalise.apply(  # type: ignore[no-any-return, no-untyped-call]
        u, gamma, beta, eps, dead, dead_gain, dead_mean, stage
    )
