"""The running statistics: those of eval mode, of frozen batch norms, and of layers without any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from hrat.encoding import LayerAmplifiers
from hrat.errors import ConversionError
from hrat.nn.device_errors import DeviceErrors
from hrat.nn.fusing import BatchNormTerms, terms_of, track
from hrat.nn.ranks import world_size
from hrat.nn.straight_through import OutputStage, batch_statistics
from hrat.nn.word_lines import WordLines
from hrat.physics import Draw

if TYPE_CHECKING:
    from hrat.nn.crossbar_layer import CrossbarLayer

__all__ = ["ForwardPass", "RunningStatistics", "running_terms_before", "terms_before", "values_per_channel"]


@dataclass(frozen=True)
class ForwardPass:
    """One call of a layer: its inputs, and the stage behind the bit lines."""

    lines: WordLines
    """Voltages as they are."""
    driven: WordLines
    """Voltages by which devices conduct; those of the lines where devices are ohmic."""
    alpha_in: Tensor
    alpha_out: Tensor
    before: BatchNormTerms | None
    """The batch norm in front of the operation, with the statistics of this pass."""
    errors: DeviceErrors
    amplifiers: LayerAmplifiers
    """Errors of the amplifiers; empty where these have none."""
    draw: Draw | None
    """Numbers of this reading; None where readings do not differ."""
    stage: OutputStage
    image_offsets: bool = False
    """Whether offsets of the amplifiers are drawn anew for each image."""


class RunningStatistics:
    """`v_out = clamp_swing((Q(W') + error) v_in + DAC(b'))`, fused with the running statistics."""

    def terms_after(self, layer: CrossbarLayer, at: ForwardPass) -> BatchNormTerms | None:
        """The batch norm behind the operation, with the statistics to fuse."""
        del at
        return None if layer.batch_norm is None else terms_of(layer.batch_norm)

    def output(self, layer: CrossbarLayer, at: ForwardPass) -> Tensor:
        """Amplifier outputs, `(..., out)` or `(batch, out, *space)`, V."""
        fused = layer.fuse(at.alpha_in, at.alpha_out, at.before, self.terms_after(layer, at))
        bias_V = layer.trimmed(None if fused.bias_V is None else at.stage.bias(fused.bias_V))
        return at.stage.limit_(layer.crossbar(at, fused, bias_V))


def terms_before(layer: CrossbarLayer, signal: Tensor, alpha: Tensor | None) -> BatchNormTerms | None:
    """The batch norm in front of a layer's operation: with statistics of the batch, where it learns.

    Args:
        layer: the layer.
        signal: what the batch norm normalises, `(batch, channels, *space)`.
        alpha: scale of the signal, scalar or `(channels,)`, V per unit; None where it is in digital units.
    """
    bn = layer.batch_norm_before
    if bn is None or not layer.learns(bn):
        return running_terms_before(layer)
    count = values_per_channel(layer, signal)
    mean, var = batch_statistics(signal)
    if alpha is not None:
        mean, var = mean / alpha, var / alpha**2
    track(bn, mean, var, count)
    return terms_of(bn, mean, var).repeated(layer.geometry.in_channels // bn.num_features)


def running_terms_before(layer: CrossbarLayer) -> BatchNormTerms | None:
    """The batch norm in front of a layer's operation with its running statistics, if there is one."""
    bn = layer.batch_norm_before
    return None if bn is None else terms_of(bn).repeated(layer.geometry.in_channels // bn.num_features)


def values_per_channel(layer: CrossbarLayer, x: Tensor) -> int:
    """Number of values, over the batch of all ranks, that share one statistic.

    Raises:
        ConversionError: a single one, which has no spread.
    """
    count = x.numel() // x.shape[1] * world_size()
    if count < 2:
        raise ConversionError(
            "batch norm in training mode needs more than one value per channel, got a batch of shape "
            f"{tuple(x.shape)} ({layer.geometry.kind} with {layer.geometry.out_channels} outputs); use a larger "
            "batch, drop the last incomplete one (drop_last=True), or freeze batch norm"
        )
    return count
