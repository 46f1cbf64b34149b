"""The layer that trains as the chip computes: a linear operation with its batch norm, on a crossbar."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hrat.encoding import Geometry, RowTiles, has_window
from hrat.encoding.wires import effective_pair
from hrat.errors import ConversionError
from hrat.nn.functional import (
    BatchNormTerms,
    Fused,
    PairError,
    draw_difference_error,
    draw_pair_error,
    fuse,
    terms_of,
    track,
)
from hrat.nn.partial_sums import digital_sum_ste
from hrat.nn.ranks import world_size
from hrat.nn.scratch import scratch_like
from hrat.nn.straight_through import (
    OutputStage,
    apply_to_digital_input,
    batch_statistics,
    normalise,
    pair_of,
    realise,
)
from hrat.physics import amplifier_limits_V, clamp_to, has_error
from hrat.spec import HardwareSpec

__all__ = ["BATCH_NORM_FORMS", "BatchNormForm", "CrossbarLayer", "LayerTargets", "NoiseSource"]

BatchNormForm = Literal["two_pass", "slice", "one_pass", "unfused"]
"""Where the batch statistics come from in training.

`two_pass`
    The reference: from the undistorted operation on the whole batch, as batch norm has it. Costs the operation twice.
`slice`
    The same on the first eighth of the batch.
`one_pass`
    Fuse with the running statistics, normalise the distorted output by its own batch statistics, and feed these back
    through the gain of the fusing. Costs the operation once.
`unfused`
    Batch norm stays apart in training and is merged only on the chip. Not HRAT: the ablation that shows why to fuse.
"""
BATCH_NORM_FORMS: tuple[BatchNormForm, ...] = ("two_pass", "slice", "one_pass", "unfused")

INITIAL_RANGE = 3.0
"""First guess of the weights' window, in units of their root mean square; learned from there."""

SLICE_OF_BATCH = 8
SLICE_AT_LEAST = 16


class NoiseSource:
    """Where a prepared model draws its programming errors from; shared by its layers.

    `generator` is None for torch's default one, which `torch.manual_seed` sets and which `torch.compile` can trace.
    """

    def __init__(self, generator: torch.Generator | None = None) -> None:
        self.generator = generator


@dataclass(frozen=True)
class LayerTargets:
    """What a layer, as it is in eval mode, asks of the hardware."""

    fraction: Tensor
    """Q(W') in units of the window, PyTorch layout, in [-1, 1]; any value where there is no window."""
    range: Tensor
    """Gain of a full pair, `R_f * (g_max_S - g_min_S)`, scalar."""
    bias_V: Tensor | None
    """b', `(out,)`, V, before the DAC."""


@dataclass(frozen=True)
class WordLines:
    """What drives a crossbar."""

    geometry: Geometry
    voltage: Tensor
    """V."""
    digital: Tensor | None
    """What the input DAC makes `voltage` of, where it does so and the gradient of this is not wanted."""
    alpha: Tensor
    limit_V: float
    """Where the input DAC saturates."""

    def apply(self, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """`weight @ voltage + bias`, convolution or not."""
        if self.digital is None:
            return self.geometry.apply(self.voltage, weight, bias)
        return apply_to_digital_input(
            self.geometry, self.voltage, weight, bias, x=self.digital, alpha=self.alpha, limit_V=self.limit_V
        )

    def first(self, count: int) -> WordLines:
        """The first images of the batch."""
        digital = None if self.digital is None else self.digital[:count]
        return replace(self, voltage=self.voltage[:count], digital=digital)


class CrossbarLayer(nn.Module):
    """Linear, convolution or transposed convolution, with the batch norms around it, under the hardware's restrictions.

        v_in  = clamp_read(v)
        W', b' = fused weights and bias                      (`hrat.nn.functional.fuse`)
        Q(W')                                                (`hrat.nn.straight_through.realise`)
        v_out = clamp_swing((Q(W') + error) v_in + DAC(b'))

    In training mode a new error is drawn at each call, as if each batch met another chip. In eval mode there is none,
    unless one was set with `fixed_error` (see `hrat.nn.use_chip`).
    """

    def __init__(
        self,
        geometry: Geometry,
        weight: nn.Parameter,
        bias: nn.Parameter | None,
        spec: HardwareSpec,
        *,
        batch_norm: _BatchNorm | None = None,
        batch_norm_before: _BatchNorm | None = None,
        form: BatchNormForm = "one_pass",
        noise: NoiseSource | None = None,
    ) -> None:
        super().__init__()
        self.geometry = geometry
        self.spec = spec
        self.weight = weight
        self.bias: nn.Parameter | None
        self.register_parameter("bias", bias)
        self.batch_norm = batch_norm
        self.batch_norm_before = batch_norm_before
        self.form: BatchNormForm = form
        self.noise = noise if noise is not None else NoiseSource()
        self.log_range = nn.Parameter(weight.new_full((), math.log(INITIAL_RANGE)).detach())
        self.log_range.requires_grad_(has_window(spec))
        self.row_tiles = RowTiles.of(geometry, spec)
        self.log_tile_adc_V: nn.Parameter | None
        self.register_parameter("log_tile_adc_V", None if self.row_tiles is None else self._first_full_scales())
        self.watch_partial_sums: Callable[[Tensor], None] | None = None
        """Called with the voltages of the tiles' amplifiers, `(tiles, ...)`, before any limit."""
        self.noise_strength: Tensor
        self.register_buffer("noise_strength", weight.new_ones(()).detach(), persistent=False)
        self.batch_norm_frozen = False
        self.fixed_error: PairError | None = None

    def extra_repr(self) -> str:
        """One line for `print(model)`."""
        g = self.geometry
        return f"{g.kind}, {g.in_channels} -> {g.out_channels}, kernel={g.kernel}, groups={g.groups}, form={self.form}"

    def forward(
        self,
        voltage: Tensor,
        alpha_in: Tensor,
        alpha_out: Tensor,
        error: PairError | None = None,
        *,
        digital: Tensor | None = None,
        within_read: bool = False,
        rectifies: bool = False,
        drives_word_lines: bool = False,
    ) -> Tensor:
        """Word-line voltages to amplifier outputs.

        Args:
            voltage: V, `(..., in)` or `(batch, in, *space)`.
            alpha_in: scale of the signal that enters, scalar or `(in,)`, V per unit.
            alpha_out: scale of the signal that leaves, scalar or `(out,)`, V per unit.
            error: programming error to use instead of a new one (a layer called twice has one set of devices).
            digital: the digital values of which the input DAC made `voltage`, where it drives this layer directly.
            within_read: `voltage` is known to be within the read threshold (see `hrat.nn.stages`).
            rectifies: a ReLU stands behind the amplifiers.
            drives_word_lines: nothing but crossbars reads the output, which is then held within the read threshold.

        Returns:
            V, `(..., out)` or `(batch, out, *space)`.
        """
        lines = self._word_lines(voltage, alpha_in, digital, within_read)
        stage = self._output_stage(rectifies, drives_word_lines)
        learns_statistics = self.training and not self.batch_norm_frozen
        before = self._terms_before(lines, alpha_in, learns_statistics)
        if self.form == "unfused" and self.training and self.batch_norm is not None:
            return self._unfused(lines, alpha_in, alpha_out, before, error, stage)
        if self.batch_norm is None or not learns_statistics:
            after = None if self.batch_norm is None else terms_of(self.batch_norm)
        elif self.form == "one_pass":
            return self._one_pass(lines, alpha_in, alpha_out, before, error, stage)
        else:
            after = self._terms_of_batch(lines, alpha_in, before)
        fused = self._fuse(alpha_in, alpha_out, before, after)
        bias_V = None if fused.bias_V is None else stage.bias(fused.bias_V)
        return stage.limit_(self._crossbar(lines, fused, error, bias_V))

    def targets(self, alpha_in: Tensor, alpha_out: Tensor) -> LayerTargets:
        """What this layer, as it is in eval mode, asks of the hardware."""
        before = None if self.batch_norm_before is None else terms_of(self.batch_norm_before)
        after = None if self.batch_norm is None else terms_of(self.batch_norm)
        fused = self._fuse(alpha_in, alpha_out, before, after)
        fraction, range_ = self._realise(fused)
        return LayerTargets(fraction, range_, fused.bias_V)

    def fused_weight(self, alpha_in: Tensor, alpha_out: Tensor) -> Tensor:
        """W' of eval mode, before any restriction, PyTorch layout."""
        before = None if self.batch_norm_before is None else terms_of(self.batch_norm_before)
        after = None if self.batch_norm is None else terms_of(self.batch_norm)
        fused = self._fuse(alpha_in, alpha_out, before, after)
        return fused.weight * self.geometry.out_view(fused.gain)

    def held(self, alpha_in: Tensor, alpha_out: Tensor, error: PairError | None) -> Callable[[Tensor], Tensor]:
        """The layer for several calls in a row, such as the steps of a recurrence: volts to volts, devices set once.

        For a layer without batch norms, whose word lines are driven by a DAC.
        """
        if self.spec.periphery.readout == "two_stage" or self.row_tiles is not None:
            return lambda voltage: self(voltage, alpha_in, alpha_out, error, within_read=True)
        stage = self._output_stage(rectifies=False, drives_word_lines=False)
        fused = self._fuse(alpha_in, alpha_out, None, None)
        fraction, range_ = self._realise(fused)
        weight = _scaled(self._difference(fraction, error), range_)
        bias_V = None if fused.bias_V is None else stage.bias(fused.bias_V)
        return lambda voltage: stage.limit_(self.geometry.apply(voltage, weight, bias_V))

    @property
    def tile_adc_V(self) -> Tensor | None:
        """Full scale of the ADCs of each tile's partial sums, `(tiles,)`, V; None where currents are summed."""
        return None if self.log_tile_adc_V is None else self.log_tile_adc_V.exp()

    def _first_full_scales(self) -> nn.Parameter:
        assert self.row_tiles is not None
        periphery, count = self.spec.periphery, self.row_tiles.count
        full_scale_V = periphery.v_tile_adc_V
        if periphery.learn_tile_adc:
            full_scale_V /= math.sqrt(count)  # independent terms of a sum that is to reach all of it
        log_V = self.weight.new_full((count,), math.log(full_scale_V)).detach()
        return nn.Parameter(log_V, requires_grad=periphery.learn_tile_adc)

    def draw_error(self, alpha_in: Tensor, alpha_out: Tensor) -> PairError | None:
        """One error sample for all calls of a shared layer in this step; None where `forward` needs none."""
        if not self.training or not has_error(self.spec):
            return None
        with torch.no_grad():
            fraction = self.targets(alpha_in, alpha_out).fraction
            return draw_pair_error(fraction, self.spec, generator=self.noise.generator, strength=self.noise_strength)

    def _word_lines(self, voltage: Tensor, alpha_in: Tensor, digital: Tensor | None, within_read: bool) -> WordLines:
        device, periphery = self.spec.device, self.spec.periphery
        if device.limit_read_voltage and not within_read:
            voltage = clamp_to(voltage, device.v_read_V)
        saturates = device.limit_read_voltage or (periphery.limit_input_dac and periphery.input_dac_bits is not None)
        # A batch norm in front takes statistics of the voltages, and tiles are worked on one by one: these need the
        # gradient of the voltages.
        needs_gradient = self.batch_norm_before is not None or self.row_tiles is not None
        if digital is not None and (digital.requires_grad or needs_gradient):
            digital = None
        return WordLines(self.geometry, voltage, digital, alpha_in, device.v_read_V if saturates else math.inf)

    # ---- the analog operation ----------------------------------------------------------------------------------

    def _fuse(
        self,
        alpha_in: Tensor,
        alpha_out: Tensor,
        before: BatchNormTerms | None,
        after: BatchNormTerms | None,
        want_bias: bool = True,
    ) -> Fused:
        return fuse(
            self.weight,
            self.bias,
            self.geometry,
            alpha_in=alpha_in,
            alpha_out=alpha_out,
            after=after,
            before=before,
            want_bias=want_bias,
        )

    def _realise(self, fused: Fused) -> tuple[Tensor, Tensor]:
        """`Q(W')` in units of the window; and the window, which is the gain of a full pair."""
        if has_window(self.spec):
            return realise(fused.weight, fused.gain, self.log_range, self.geometry, self.spec.device)
        weight = fused.weight * self.geometry.out_view(fused.gain)
        tiny = torch.finfo(weight.dtype).tiny ** 0.5  # a layer of zeros must not divide by zero
        largest = torch.linalg.vector_norm(weight.detach(), math.inf).clamp(min=tiny)
        return _scaled(weight, 1 / largest), largest

    def _output_stage(self, rectifies: bool, drives_word_lines: bool) -> OutputStage:
        periphery = self.spec.periphery
        if self.row_tiles is not None:  # what leaves is digital: the limits are those of each partial sum
            return OutputStage(None, periphery.v_bias_V, 0.0 if rectifies else -math.inf, math.inf)
        low_V, high_V = amplifier_limits_V(self.spec, rectifies=rectifies, drives_word_lines=drives_word_lines)
        dac_bits = periphery.bias_dac_bits if periphery.limit_bias_dac else None
        return OutputStage(dac_bits, periphery.v_bias_V, low_V, high_V)

    def _crossbar(
        self, lines: WordLines, fused: Fused, error: PairError | None, bias_V: Tensor | None = None
    ) -> Tensor:
        """`(Q(W') + error) v + bias`: `R_f (I+ - I-)` and the bias, V."""
        fraction, range_ = self._realise(fused)
        if self._is_one_product:
            return lines.apply(_scaled(self._difference(fraction, error), range_), bias_V)
        out = self._volts(lines, fraction, range_, error)
        return out if bias_V is None else out + self.geometry.channel_view(bias_V)

    @property
    def _is_one_product(self) -> bool:
        """Whether nothing within the crossbar depends on volts: one matrix product in units of the window does."""
        return self.row_tiles is None and self.spec.periphery.readout == "dual_rail"

    def _volts(self, lines: WordLines, fraction: Tensor, range_: Tensor, error: PairError | None) -> Tensor:
        """`R_f (I+ - I-)`, V, where amplifiers or converters inside act on it; of tiles with ADCs their digital sum."""
        if self.row_tiles is None:
            return self._two_stage(lines.apply, fraction, range_, error)
        assert self.tile_adc_V is not None
        apply = partial(self.row_tiles.apply, lines.voltage)
        if self.spec.periphery.readout == "two_stage":
            partial_V = self._two_stage(apply, fraction, range_, error)
        else:
            partial_V = apply(_scaled(self._difference(fraction, error), range_))
        if self.watch_partial_sums is not None:
            self.watch_partial_sums(partial_V)
        return digital_sum_ste(partial_V, self.tile_adc_V, self.spec)

    def _two_stage(
        self, apply: Callable[[Tensor], Tensor], fraction: Tensor, range_: Tensor, error: PairError | None
    ) -> Tensor:
        """`R_f (I+ - I-)`, V; `I-` passes an amplifier of its own, which saturates like any other, first."""
        device, periphery = self.spec.device, self.spec.periphery
        g_pos_S, g_neg_S = self._conductances(fraction, error)
        r_f_ohm = range_ / device.g_range_S
        first = apply(g_neg_S * r_f_ohm)
        if periphery.limit_swing:
            first = clamp_to(first, periphery.v_swing_V)
        return apply(g_pos_S * r_f_ohm) - first

    def _difference(self, fraction: Tensor, error: PairError | None) -> Tensor:
        """`G+ - G-` as the bit lines see it, a fraction of the window; may overwrite `fraction`."""
        if self.spec.array.limit_wires:
            g_pos_S, g_neg_S = self._conductances(fraction, error)
            return (g_pos_S - g_neg_S) / self.spec.device.g_range_S
        sample = self._difference_error(fraction, error)
        return fraction if sample is None else fraction.add_(sample)

    def _conductances(self, fraction: Tensor, error: PairError | None) -> tuple[Tensor, Tensor]:
        """`(G+, G-)` with their error, as seen through the wires, each in the layout of the weight, S."""
        sample = self._pair_error(fraction, error)
        g_pos_S, g_neg_S = pair_of(fraction, self.spec.device)
        if sample is not None:
            g_pos_S, g_neg_S = g_pos_S + sample[0], g_neg_S + sample[1]
        if not self.spec.array.limit_wires:
            return g_pos_S, g_neg_S
        matrix, weight = self.geometry.to_matrix, self.geometry.from_matrix
        g_pos_S, g_neg_S = effective_pair(matrix(g_pos_S), matrix(g_neg_S), self.spec)
        return weight(g_pos_S), weight(g_neg_S)

    def _pair_error(self, fraction: Tensor, error: PairError | None) -> PairError | None:
        """The error to use, in siemens: given, fixed, or newly drawn in training."""
        given = error if error is not None else self.fixed_error
        if given is not None or not self.training or not has_error(self.spec):
            return given
        return draw_pair_error(fraction, self.spec, generator=self.noise.generator, strength=self.noise_strength)

    def _difference_error(self, fraction: Tensor, error: PairError | None) -> Tensor | None:
        """The same for `G+ - G-`, as a fraction of the window: one draw for a pair where that is exact.

        It may lie in scratch memory: to be used at once.
        """
        given = error if error is not None else self.fixed_error
        if given is not None:
            return (given[0] - given[1]) / self.spec.device.g_range_S
        if not self.training or not has_error(self.spec):
            return None
        return draw_difference_error(
            fraction,
            self.spec,
            generator=self.noise.generator,
            strength=self.noise_strength,
            out=scratch_like(fraction),
        )

    # ---- batch statistics --------------------------------------------------------------------------------------

    def _terms_before(self, lines: WordLines, alpha_in: Tensor, learns_statistics: bool) -> BatchNormTerms | None:
        if self.batch_norm_before is None:
            return None
        if not learns_statistics:
            return terms_of(self.batch_norm_before)
        count = self._values_per_channel(lines.voltage)
        mean, var = batch_statistics(lines.voltage)
        mean, var = mean / alpha_in, var / alpha_in**2
        track(self.batch_norm_before, mean, var, count)
        return terms_of(self.batch_norm_before, mean, var)

    def _terms_of_batch(self, lines: WordLines, alpha_in: Tensor, before: BatchNormTerms | None) -> BatchNormTerms:
        """Statistics of the undistorted pre-activation, with gradient: `two_pass` and `slice`."""
        assert self.batch_norm is not None
        if self.form == "slice":
            ranks = world_size()  # which together hold the images of the slice
            images = max(SLICE_AT_LEAST, -(-lines.voltage.shape[0] * ranks // SLICE_OF_BATCH))
            lines = lines.first(-(-images // ranks))
        fused = self._fuse(alpha_in, alpha_in.new_ones(()), before, None)
        undistorted = lines.apply(fused.weight)
        count = self._values_per_channel(undistorted)
        mean, var = batch_statistics(undistorted)
        mean, var = fused.gain * mean, fused.gain**2 * var
        if fused.bias_V is not None:
            mean = mean + fused.bias_V
        track(self.batch_norm, mean, var, count)
        return terms_of(self.batch_norm, mean, var)

    def _one_pass(
        self,
        lines: WordLines,
        alpha_in: Tensor,
        alpha_out: Tensor,
        before: BatchNormTerms | None,
        error: PairError | None,
        stage: OutputStage,
    ) -> Tensor:
        """Fuse with the running statistics, then correct what the crossbar yields by those of the batch.

        W'    = (alpha_out / alpha_in) diag(gamma / sigma_running) W
        v_out = clamp((sigma_running / sigma) (Q(W') + error) v + DAC(alpha_out (beta + gamma (b - mu) / sigma)))
        """
        assert self.batch_norm is not None
        running = terms_of(self.batch_norm)
        if self._is_one_product:
            # A scale of the whole layer moves the window with W', and is not seen in units of it.
            alpha_in, scale_out = _detach_scalar(alpha_in), _detach_scalar(alpha_out)
        else:
            scale_out = alpha_out
        fused = self._fuse(alpha_in, scale_out, before, running, want_bias=False)
        u, range_ = self._distorted(lines, fused, error)
        count = self._values_per_channel(u)
        gamma = torch.ones_like(running.mean) if running.gamma is None else running.gamma
        beta = torch.zeros_like(running.mean) if running.beta is None else running.beta
        out, mean, var = normalise(
            u, alpha_out, gamma, beta, self._normal_bias(before), running, range_.detach(), stage
        )
        track(self.batch_norm, mean, var, count)
        return out

    def _distorted(self, lines: WordLines, fused: Fused, error: PairError | None) -> tuple[Tensor, Tensor]:
        """`(Q(W') + error) v` in units of the window, and the window."""
        fraction, range_ = self._realise(fused)
        if not self._is_one_product:
            return self._volts(lines, fraction, range_, error) / range_, range_
        return lines.apply(self._difference(fraction, error)), range_

    def _normal_bias(self, before: BatchNormTerms | None) -> Tensor | None:
        """Bias of the operation in normal scale, with what a batch norm in front adds to it: `(out,)` or none."""
        if before is None:
            return self.bias
        one = self.weight.new_ones(())
        with torch.no_grad():
            bias = self._fuse(one, one, before, None).bias_V
        return bias if bias is None or self.bias is None else bias + 0.0 * self.bias  # a gradient for DDP

    def _unfused(
        self,
        lines: WordLines,
        alpha_in: Tensor,
        alpha_out: Tensor,
        before: BatchNormTerms | None,
        error: PairError | None,
        stage: OutputStage,
    ) -> Tensor:
        """Restrictions on the weights as they are; batch norm in floating point behind them."""
        assert self.batch_norm is not None
        fused = self._fuse(alpha_in, self.weight.new_ones(()), before, None)
        out = self._crossbar(lines, fused, error, fused.bias_V)
        terms = terms_of(self.batch_norm)
        if not self.batch_norm_frozen:
            count = self._values_per_channel(out)
            mean, var = batch_statistics(out)
            track(self.batch_norm, mean, var, count)
            terms = terms_of(self.batch_norm, mean, var)
        gain, view = terms.gain, self.geometry.channel_view
        return stage.limit_(out * view(alpha_out * gain) + view(alpha_out * terms.shift(gain)))

    def _values_per_channel(self, x: Tensor) -> int:
        count = x.numel() // x.shape[1] * world_size()
        if count < 2:
            raise ConversionError(
                "batch norm in training mode needs more than one value per channel, got a batch of shape "
                f"{tuple(x.shape)} ({self.geometry.kind} with {self.geometry.out_channels} outputs); use a larger "
                "batch, drop the last incomplete one (drop_last=True), or freeze batch norm"
            )
        return count


def _detach_scalar(alpha: Tensor) -> Tensor:
    return alpha.detach() if alpha.ndim == 0 else alpha


def _scaled(value: Tensor, factor: Tensor) -> Tensor:
    """`value * factor`, in the memory of `value`, which nobody else may read, where no gradient needs that."""
    if torch.is_grad_enabled() and (value.requires_grad or factor.requires_grad):
        return value * factor
    return value.mul_(factor)
