"""Fuse with the running statistics, then correct what the crossbar yields by those of the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hrat.nn.batch_norm.running import ForwardPass, RunningStatistics, values_per_channel
from hrat.nn.fusing import BatchNormTerms, terms_of, track
from hrat.nn.numbers import at_least_single
from hrat.nn.straight_through import normalise

if TYPE_CHECKING:
    from hrat.nn.crossbar_layer import CrossbarLayer

__all__ = ["OnePass"]


class OnePass(RunningStatistics):
    """Costs the operation once.

    W'    = (alpha_out / alpha_in) diag(gamma / sigma_running) W
    v_out = clamp((sigma_running / sigma) (Q(W') + error) v + DAC(alpha_out (beta + gamma (b - mu) / sigma)))
    """

    def output(self, layer: CrossbarLayer, at: ForwardPass) -> Tensor:
        """Amplifier outputs, V; the statistics are read off the crossbar's own output."""
        if layer.batch_norm is None:
            return super().output(layer, at)
        running = terms_of(layer.batch_norm)
        alpha_in, scale_out = at.alpha_in, at.alpha_out
        if layer.readout.is_one_product:
            # A scale of the whole layer moves the window with W', and is not seen in units of it.
            alpha_in, scale_out = _detach_scalar(alpha_in), _detach_scalar(scale_out)
        fused = layer.fuse(alpha_in, scale_out, at.before, running, want_bias=False)
        u, weights = layer.crossbar_in_windows(at, fused)
        count = values_per_channel(layer, u)
        gamma = torch.ones_like(running.mean) if running.gamma is None else running.gamma
        beta = torch.zeros_like(running.mean) if running.beta is None else running.beta
        bias = _bias(layer, at.before)
        bias = None if bias is None else at_least_single(bias)
        # Errors of the last amplifiers come behind what batch norm does, as on the chip, and limits behind these.
        stage = at.stage if weights.errors is None else at.stage.without_limits()
        out, mean, var = normalise(u, at.alpha_out, gamma, beta, bias, running, weights.range.detach(), stage)
        track(layer.batch_norm, mean, var, count)
        return out if weights.errors is None else at.stage.limit_(layer.amplified(at, out, weights))


def _bias(layer: CrossbarLayer, before: BatchNormTerms | None) -> Tensor | None:
    """Bias of the operation in digital units, with what a batch norm in front adds to it: `(out,)` or none."""
    if before is None:
        return layer.bias
    one = layer.weight.new_ones(())
    with torch.no_grad():
        bias = layer.fuse(one, one, before, None).bias_V
    # Batch norm behind takes the bias off again, and with it all that it was made of: gradients of zero, not none,
    # which DDP would take amiss.
    for part in (layer.bias, before.beta):
        if bias is not None and part is not None:
            bias = bias + 0.0 * part.sum()
    return bias


def _detach_scalar(alpha: Tensor) -> Tensor:
    return alpha.detach() if alpha.ndim == 0 else alpha
