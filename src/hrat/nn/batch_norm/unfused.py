"""The ablation: restrictions on the weights as they are, batch norm in floating point behind them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hrat.nn.batch_norm.running import ForwardPass, RunningStatistics, values_per_channel
from hrat.nn.fusing import BatchNormTerms, Fused, terms_of, track
from hrat.nn.straight_through import batch_statistics

if TYPE_CHECKING:
    from hrat.nn.crossbar_layer import CrossbarLayer

__all__ = ["Unfused"]


class Unfused(RunningStatistics):
    """Batch norm is merged only on the chip; in training it stands behind the crossbar, frozen or not.

        v_out = clamp(alpha_out (gamma / sigma) (Q(W / alpha_in) + error) v + DAC(b'))
        b'    = alpha_out (beta + gamma (b - mu) / sigma)

    All restrictions act as in the other forms, the bias DAC among them. The one difference from `one_pass`, whose
    statistics are of the distorted output too, is what is rounded and distorted: the weights before batch norm and
    scales, which gives each channel the same relative error. Errors in volts meet the feedback resistor of the chip.
    """

    def output(self, layer: CrossbarLayer, at: ForwardPass) -> Tensor:
        """Amplifier outputs, V."""
        if layer.batch_norm is None:
            return super().output(layer, at)
        fused = layer.fuse(at.alpha_in, layer.weight.new_ones(()), at.before, None)
        terms = terms_of(layer.batch_norm)
        to_volts = _to_volts(layer, at, fused, terms)
        u, weights = layer.crossbar_in_windows(at, replace(fused, gain=fused.gain * to_volts))
        product = u * (weights.range / to_volts)
        if layer.learns(layer.batch_norm):
            count = values_per_channel(layer, product)
            mean, var = batch_statistics(product)
            mean = mean if fused.bias_V is None else mean + fused.bias_V
            track(layer.batch_norm, mean, var, count)
            terms = terms_of(layer.batch_norm, mean, var)
        gain, view = terms.gain, layer.geometry.channel_view
        shift = terms.shift(gain) if fused.bias_V is None else terms.shift(gain) + gain * fused.bias_V
        out = product * view(at.alpha_out * gain) + view(at.stage.bias(at.alpha_out * shift))
        return at.stage.limit_(layer.amplified(at, out, weights))


def _to_volts(layer: CrossbarLayer, at: ForwardPass, fused: Fused, terms: BatchNormTerms) -> Tensor:
    """Factor by which the weights have the size of the merged ones, scalar, so that `R_f` is that of the chip.

    In units of the window, which follows the size of the weights, they stay what they are.
    """
    norm = layer.geometry.out_norm(fused.weight.detach())
    merged = torch.linalg.vector_norm((at.alpha_out * terms.gain).detach() * norm)
    tiny = torch.finfo(norm.dtype).tiny ** 0.5  # a layer of zeros must not divide by zero
    factor: Tensor = merged.clamp(min=tiny) / torch.linalg.vector_norm(norm).clamp(min=tiny)
    return factor
