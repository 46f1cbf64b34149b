"""Weights as fractions of the conductance window, and as pairs of conductances."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hrat.encoding import Geometry, encode_pair, quantise_fraction_
from hrat.nn.scratch import in_parts, scratch_like
from hrat.nn.straight_through.memory import clamp_backward, product_into
from hrat.spec import Device

__all__ = ["pair_of", "realise"]


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
            quantise_fraction_(product_into(w, k, part), device)
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
                clamp_backward(grad, product_into(w, k, part), -1.0, 1.0, part)
                dots.append(geometry.out_sum(product_into(part, w, scratch_like(part))))
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
        fraction: realisable fractions of the window, any shape.
        device: the memristor.

    Returns:
        `(G+, G-)`, S, each of the shape of `fraction`.
    """
    if device.pairs == "centred":
        return encode_pair(fraction, device)  # linear between states: half of the gradient for either partner
    lowest_S, half_S = device.states_S[0], device.g_range_S / 2
    size = fraction.abs()  # its gradient at zero is 0; that of a clamp would be 1 for either partner
    return lowest_S + (size + fraction) * half_S, lowest_S + (size - fraction) * half_S
