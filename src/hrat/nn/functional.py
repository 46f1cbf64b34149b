"""Batch-norm fusing, and the errors that training draws. No state, no modules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from hrat.encoding import Geometry, encode_pair
from hrat.physics import achieved_conductance, pair_error_is_gaussian, sigma_S
from hrat.physics.errors import standard_normal
from hrat.spec import HardwareSpec

__all__ = [
    "BatchNormTerms",
    "Fused",
    "PairError",
    "draw_difference_error",
    "draw_pair_error",
    "fuse",
    "terms_of",
    "track",
]

PairError = tuple[Tensor, Tensor]
"""Error of `(G+, G-)` of each weight in siemens, each in the shape of the weight."""


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
    quantised: Tensor,
    spec: HardwareSpec,
    *,
    generator: torch.Generator | None,
    strength: Tensor | float = 1.0,
    out: Tensor | None = None,
) -> Tensor:
    """Draw the error of `G+ - G-` as a fraction of the window: all that a dual-rail read-out sees of it.

    Two independent Gaussians differ by one of variance `sigma+^2 + sigma-^2`, so one draw does; where the cut-off at
    zero conductance matters, with a table or with stuck devices, each device is drawn for itself.

    Args:
        quantised: realisable fractions of the window, the shape of the weight.
        spec: the hardware.
        generator: source of the random numbers; torch's default one where none is given.
        strength: factor on the standard deviation.
        out: memory that may take the result, of the shape of `quantised`.
    """
    quantised = quantised.detach()
    if not pair_error_is_gaussian(spec):
        pos, neg = draw_pair_error(quantised, spec, generator=generator, strength=strength)
        return pos.sub_(neg).div_(spec.device.g_range_S)
    z = standard_normal(torch.empty_like(quantised) if out is None else out, generator)
    if spec.programming.sigma_rel is not None:
        return z.mul_(strength * (spec.programming.sigma_rel * math.sqrt(2.0)))
    g_pos_S, g_neg_S = encode_pair(quantised, spec.device)
    spread_pos, spread_neg = sigma_S(g_pos_S, spec), sigma_S(g_neg_S, spec)
    spread_S = torch.hypot(torch.as_tensor(spread_pos), torch.as_tensor(spread_neg))
    return z.mul_(spread_S.mul_(strength / spec.device.g_range_S))


@dataclass(frozen=True)
class BatchNormTerms:
    """What batch norm does to a channel: `gamma * (x - mean) / sqrt(var + eps) + beta`, each tensor `(channels,)`."""

    mean: Tensor
    var: Tensor
    gamma: Tensor | None
    beta: Tensor | None
    eps: float
    inverse: Tensor
    """`1 / sqrt(var + eps)`."""

    @property
    def gain(self) -> Tensor:
        """`gamma / sigma`, with its sign."""
        return self.inverse if self.gamma is None else self.gamma * self.inverse

    def shift(self, gain: Tensor) -> Tensor:
        """`beta - gain * mean`."""
        shift = -gain * self.mean
        return shift if self.beta is None else self.beta + shift


@dataclass(frozen=True)
class Fused:
    """What a crossbar and its bias DAC have to realise: `W' = diag(gain) * weight` and `b'`."""

    weight: Tensor
    """PyTorch layout, with the gains of the inputs in it where these differ."""
    gain: Tensor
    """Of each output channel, `(out,)`, or a scalar."""
    bias_V: Tensor | None
    """b', `(out,)`, V, or None where there is nothing to add."""


def fuse(
    weight: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    *,
    alpha_in: Tensor,
    alpha_out: Tensor,
    after: BatchNormTerms | None = None,
    before: BatchNormTerms | None = None,
    want_bias: bool = True,
) -> Fused:
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
        want_bias: whether b' is wanted at all.
    """
    gain = alpha_out
    if before is not None:
        gain_before = before.gain
        through = (weight * geometry.in_view(before.shift(gain_before))).flatten(1).sum(1)
        bias = through if bias is None else bias + through
        weight = weight * geometry.in_view(gain_before / alpha_in)
    elif alpha_in.ndim == 0:
        gain = gain / alpha_in
    else:
        weight = weight * geometry.in_view(1 / alpha_in)
    if after is not None:
        gain_after = after.gain
        gain = gain * gain_after
        if want_bias:
            shift = after.shift(gain_after)
            bias = shift if bias is None else gain_after * bias + shift
    return Fused(weight, gain, None if bias is None or not want_bias else alpha_out * bias)


def terms_of(bn: _BatchNorm, mean: Tensor | None = None, var: Tensor | None = None) -> BatchNormTerms:
    """Batch norm with the given statistics, or with its running ones."""
    mean = bn.running_mean if mean is None else mean
    var = bn.running_var if var is None else var
    assert mean is not None  # prepare refuses batch norms that keep no running statistics
    assert var is not None
    return BatchNormTerms(mean, var, bn.weight, bn.bias, bn.eps, torch.rsqrt(var + bn.eps))


def track(bn: _BatchNorm, mean: Tensor, var: Tensor, count: int) -> None:
    """Update the running statistics as `torch.nn.BatchNorm` does: unbiased variance, `momentum` or plain average."""
    running_mean, running_var = cast(Tensor, bn.running_mean), cast(Tensor, bn.running_var)
    assert bn.num_batches_tracked is not None
    bn.num_batches_tracked.add_(1)
    weight: Tensor | float
    weight = 1.0 / bn.num_batches_tracked.to(running_mean.dtype) if bn.momentum is None else bn.momentum
    mean = mean.detach().to(running_mean.dtype)
    var = (var.detach() * (count / (count - 1))).to(running_var.dtype)
    if torch.compiler.is_compiling():
        # New tensors: the compiled backward may read the statistics that the forward used once more, and would find
        # them overwritten.
        bn.running_mean = torch.lerp(running_mean, mean, weight)
        bn.running_var = torch.lerp(running_var, var, weight)
    else:
        running_mean.lerp_(mean, weight)
        running_var.lerp_(var, weight)
