"""The ablation: restrictions on the weights as they are, batch norm in floating point behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from hrat.nn.batch_norm.running import ForwardPass, RunningStatistics, values_per_channel
from hrat.nn.fusing import terms_of, track
from hrat.nn.straight_through import batch_statistics

if TYPE_CHECKING:
    from hrat.nn.crossbar_layer import CrossbarLayer

__all__ = ["Unfused"]


class Unfused(RunningStatistics):
    """Batch norm is merged only on the chip."""

    def output(self, layer: CrossbarLayer, at: ForwardPass) -> Tensor:
        """Outputs as batch norm has them, within the limits of the amplifier, V."""
        if layer.batch_norm is None:
            return super().output(layer, at)
        fused = layer.fuse(at.alpha_in, layer.weight.new_ones(()), at.before, None)
        out = layer.crossbar(at.lines, fused, at.errors, fused.bias_V)
        terms = terms_of(layer.batch_norm)
        if not layer.batch_norm_frozen:
            count = values_per_channel(layer, out)
            mean, var = batch_statistics(out)
            track(layer.batch_norm, mean, var, count)
            terms = terms_of(layer.batch_norm, mean, var)
        gain, view = terms.gain, layer.geometry.channel_view
        return at.stage.limit_(out * view(at.alpha_out * gain) + view(at.alpha_out * terms.shift(gain)))
