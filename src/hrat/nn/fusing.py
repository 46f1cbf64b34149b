"""Batch-norm fusing: scales and batch norm vanish into weights and biases. No state, no modules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hrat.encoding import Geometry
from hrat.nn.numbers import at_least_single

__all__ = ["BatchNormTerms", "Fused", "fuse", "terms_of", "track"]


@dataclass(frozen=True)
class BatchNormTerms:
    """Batch norm of a channel: `gamma * (x - mean) / sqrt(var + eps) + beta`, each tensor `(channels,)`."""

    mean: Tensor
    var: Tensor
    gamma: Tensor | None
    beta: Tensor | None
    eps: float
    inverse: Tensor
    """`1 / sqrt(var + eps)`."""

    @property
    def gain(self) -> Tensor:
        """`gamma / sigma` with its sign, `(channels,)`."""
        return self.inverse if self.gamma is None else self.gamma * self.inverse

    def repeated(self, times: int) -> BatchNormTerms:
        """The same for inputs of which each channel is a run of `times`, as a flatten makes them."""
        if times == 1:
            return self
        mean, var, inverse = (part.repeat_interleave(times) for part in (self.mean, self.var, self.inverse))
        gamma, beta = (None if part is None else part.repeat_interleave(times) for part in (self.gamma, self.beta))
        return BatchNormTerms(mean, var, gamma, beta, self.eps, inverse)

    def shift(self, gain: Tensor) -> Tensor:
        """`beta - gain * mean`, `(channels,)`."""
        shift = -gain * self.mean
        return shift if self.beta is None else self.beta + shift


@dataclass(frozen=True)
class Fused:
    """Targets of a crossbar and its bias DAC: `W' = diag(gain) * weight` and `b'`."""

    weight: Tensor
    """PyTorch layout, with the gains of the inputs in it where these differ."""
    gain: Tensor
    """Gain of each output channel, `(out,)`, or a scalar."""
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
    """Fuse scales and batch norm into weights and bias, as the crossbar and the bias DAC have to realise them.

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
    """Batch norm with the given statistics, `(channels,)` each, or with its running ones."""
    mean = bn.running_mean if mean is None else mean
    var = bn.running_var if var is None else var
    assert mean is not None  # prepare refuses batch norms that keep no running statistics
    assert var is not None
    mean, var = at_least_single(mean), at_least_single(var)
    gamma, beta = (None if part is None else at_least_single(part) for part in (bn.weight, bn.bias))
    return BatchNormTerms(mean, var, gamma, beta, bn.eps, torch.rsqrt(var + bn.eps))


def stays_frozen(bn: nn.Module) -> bool:
    """Whether a batch norm was frozen in the original network, so that its running statistics never move."""
    return bool(getattr(bn, "stays_frozen", False))


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
