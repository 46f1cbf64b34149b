"""The restrictions as differentiable functions, and batch-norm fusing. No state, no modules.

Forward, each function is the formula of `hrat.physics` or `hrat.encoding` that the simulation of a chip uses as well;
what stands here is only the gradient: rounding lets the gradient through unchanged (straight-through), a clamp or a
saturating converter stops it for what lies beyond the limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from hrat.encoding import Geometry, encode_pair, has_window, quantise_fraction
from hrat.physics import achieved_conductance, clipping_is_possible, convert, sigma_S
from hrat.physics.errors import standard_normal
from hrat.spec import Device, HardwareSpec

__all__ = [
    "BatchNormTerms",
    "PairError",
    "convert_ste",
    "draw_pair_error",
    "fuse",
    "quantise_ste",
    "weight_range",
]

PairError = tuple[Tensor, Tensor]
"""Error of `(G+, G-)` of each weight in siemens, each in the shape of the weight."""


class _Convert(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, voltage_V: Tensor, bits: int, full_scale_V: float) -> Tensor:
        ctx.save_for_backward(voltage_V.abs() <= full_scale_V)
        return convert(voltage_V, bits, full_scale_V)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return grad * inside, None, None


class _Quantise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, fraction: Tensor, device: Device) -> Tensor:
        ctx.save_for_backward(fraction.abs() <= 1.0)
        return quantise_fraction(fraction, device)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return grad * inside, None


def convert_ste(voltage_V: Tensor, bits: int, full_scale_V: float) -> Tensor:
    """A DAC or ADC of `bits` over `+-full_scale_V`: volts in, volts out; gradient 1 inside, 0 where it saturates."""
    return _Convert.apply(voltage_V, bits, full_scale_V)  # type: ignore[no-any-return, no-untyped-call]


def quantise_ste(fraction: Tensor, device: Device) -> Tensor:
    """A fraction of the conductance window at its nearest state; gradient 1 inside the window, 0 beyond it."""
    return _Quantise.apply(fraction, device)  # type: ignore[no-any-return, no-untyped-call]


def weight_range(fused: Tensor, log_range: Tensor, spec: HardwareSpec) -> Tensor:
    """The gain that a full pair realises, `R_f * (g_max_S - g_min_S)`, dimensionless, one for the layer.

    With a finite window it is `exp(log_range)` times the root mean square of the fused weights, so that a change of
    scale leaves the use of the window as it is; without one it is the largest weight.
    """
    tiny = torch.finfo(fused.dtype).tiny ** 0.5  # a layer of zeros must not divide by zero
    if not has_window(spec):
        return fused.detach().abs().amax().clamp(min=tiny)
    rms = torch.linalg.vector_norm(fused) / math.sqrt(fused.numel())
    window: Tensor = log_range.exp() * rms
    return window.clamp(min=tiny)


def draw_pair_error(
    quantised: Tensor, spec: HardwareSpec, *, generator: torch.Generator | None, strength: Tensor | float = 1.0
) -> PairError:
    """Draw the error `(dG+, dG-)` in siemens of every pair, from the model that programs a chip.

    Args:
        quantised: realisable fractions of the window, the shape of the weight.
        spec: the hardware.
        generator: source of the random numbers; torch's default one where none is given.
        strength: factor on the standard deviation.
    """
    targets = encode_pair(quantised.detach(), spec.device)
    drawn = [achieved_conductance(g_S, spec, generator=generator, strength=strength) - g_S for g_S in targets]
    return drawn[0], drawn[1]


def draw_difference_error(
    quantised: Tensor, spec: HardwareSpec, *, generator: torch.Generator | None, strength: Tensor | float = 1.0
) -> Tensor:
    """Draw the error of `G+ - G-` as a fraction of the window: all that a dual-rail read-out sees of it.

    Two independent Gaussians differ by one of variance `sigma+^2 + sigma-^2`, so one draw does; where the cut-off at
    zero conductance matters, each device is drawn for itself.
    """
    g_range_S = spec.device.g_range_S
    if clipping_is_possible(spec):
        pos, neg = draw_pair_error(quantised, spec, generator=generator, strength=strength)
        return (pos - neg) / g_range_S
    z = standard_normal(quantised.detach(), generator)
    if spec.programming.sigma_rel is not None:
        return z * (strength * spec.programming.sigma_rel * math.sqrt(2.0))
    g_pos_S, g_neg_S = encode_pair(quantised.detach(), spec.device)
    spread_pos, spread_neg = sigma_S(g_pos_S, spec), sigma_S(g_neg_S, spec)
    return z * strength * torch.hypot(torch.as_tensor(spread_pos), torch.as_tensor(spread_neg)) / g_range_S


@dataclass(frozen=True)
class BatchNormTerms:
    """What batch norm does to a channel: `gamma * (x - mean) / sqrt(var + eps) + beta`, each tensor `(channels,)`."""

    mean: Tensor
    var: Tensor
    gamma: Tensor | None
    beta: Tensor | None
    eps: float

    @property
    def gain(self) -> Tensor:
        """`gamma / sigma`, with its sign."""
        inverse = torch.rsqrt(self.var + self.eps)
        return inverse if self.gamma is None else self.gamma * inverse

    @property
    def shift(self) -> Tensor:
        """`beta - gain * mean`."""
        shift = -self.gain * self.mean
        return shift if self.beta is None else self.beta + shift


def fuse(
    weight: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    *,
    alpha_in: Tensor,
    alpha_out: Tensor,
    after: BatchNormTerms | None = None,
    before: BatchNormTerms | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Scales and batch norm vanish into the weights: what the crossbar and the bias DAC have to realise.

        W' = (alpha_out / alpha_in) * diag(gamma / sigma) * W        [dimensionless gain, volts to volts]
        b' = alpha_out * (beta + gamma * (b - mu) / sigma)           [V]

    A batch norm in front acts on the inputs, so its gain joins the columns of W and its shift, through W, the bias.
    Nothing is divided by gamma: zero and negative values are as good as any.

    Args:
        weight: PyTorch layout, `geometry.weight_shape`.
        bias: `(out,)` or None.
        geometry: the operation.
        alpha_in: scale of the signal that enters, V per unit, scalar or `(in,)`.
        alpha_out: scale of the signal that leaves, V per unit, scalar or `(out,)`.
        after: batch norm behind the operation.
        before: batch norm in front of it.

    Returns:
        `(W', b')`, `W'` in the layout of `weight`, `b'` as `(out,)` or None where there is nothing to add.
    """
    in_gain = 1 / alpha_in
    if before is not None:
        in_gain = before.gain * in_gain
        through = (weight * geometry.in_view(before.shift)).flatten(1).sum(1)
        bias = through if bias is None else bias + through
    out_gain = alpha_out
    if after is not None:
        out_gain = alpha_out * after.gain
        bias = after.shift if bias is None else after.gain * bias + after.shift
    fused = weight * geometry.in_view(in_gain) * geometry.out_view(out_gain)
    return fused, None if bias is None else alpha_out * bias
