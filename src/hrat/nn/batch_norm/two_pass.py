"""The reference: statistics of the undistorted operation on the whole batch, with their gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hrat.nn.batch_norm.running import ForwardPass, RunningStatistics, values_per_channel
from hrat.nn.fusing import BatchNormTerms, terms_of, track
from hrat.nn.straight_through import batch_statistics
from hrat.nn.word_lines import WordLines

if TYPE_CHECKING:
    from hrat.nn.crossbar_layer import CrossbarLayer

__all__ = ["TwoPass"]


class TwoPass(RunningStatistics):
    """Batch norm as PyTorch has it: costs the operation twice."""

    def measured_on(self, lines: WordLines) -> WordLines:
        """The part of the batch that the statistics are taken of."""
        return lines

    def terms_after(self, layer: CrossbarLayer, at: ForwardPass) -> BatchNormTerms | None:
        """Statistics of `W x + b`, in digital units."""
        if layer.batch_norm is None:
            return None
        lines = self.measured_on(at.lines)
        fused = layer.fuse(at.alpha_in, at.alpha_in.new_ones(()), at.before, None)
        undistorted = lines.apply(fused.weight)
        count = values_per_channel(layer, undistorted)
        mean, var = batch_statistics(undistorted)
        mean, var = fused.gain * mean, fused.gain**2 * var
        if fused.bias_V is not None:
            mean = mean + fused.bias_V
        track(layer.batch_norm, mean, var, count)
        return terms_of(layer.batch_norm, mean, var)
