"""The layer that trains as the chip computes: a linear operation with its batch norm, on a crossbar."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hrat.encoding import (
    Geometry,
    LayerAmplifiers,
    LayerReadout,
    draw_layer_amplifiers,
    effective_pair,
    errors_of_layer,
    has_window,
)
from hrat.nn.batch_norm import BatchNormForm, ForwardPass, running_terms_before, statistics_of, terms_before
from hrat.nn.device_errors import ChipSample, DeviceErrors, NoiseSource, PairError, draw_pair_error
from hrat.nn.fusing import BatchNormTerms, Fused, fuse, stays_frozen, terms_of
from hrat.nn.numbers import at_least_single
from hrat.nn.straight_through import OutputStage, digital_sum_ste, pair_of, realise
from hrat.nn.weights import LayerTargets, Weights
from hrat.nn.word_lines import WordLines
from hrat.physics import (
    AnyReads,
    Draw,
    amplifier_limits_V,
    conducting_V,
    has_amplifier_errors,
    has_error,
    has_read_noise,
    has_reading_errors,
    is_curved,
    offset_V,
)
from hrat.spec import HardwareSpec

__all__ = ["CrossbarLayer", "LayerTargets"]

INITIAL_RANGE = 3.0
"""First guess of the weights' window, in units of their root mean square; learned from there."""


class CrossbarLayer(nn.Module):
    """Linear, convolution or transposed convolution, with the batch norms around it, under the hardware's restrictions.

        v_in  = clamp_read(v)
        W', b' = fused weights and bias                      (`hrat.nn.fusing.fuse`)
        Q(W')                                                (`hrat.nn.straight_through.realise`)
        v_out = clamp_swing((Q(W') + error) v_in + DAC(b'))

    Its parts: the operation (`hrat.encoding.Geometry`), the read-out (`hrat.encoding.LayerReadout`), where batch
    statistics come from (`hrat.nn.batch_norm`), and what the devices do other than asked (`hrat.nn.device_errors`).

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
        turned: bool = False,
    ) -> None:
        super().__init__()
        self.geometry = geometry
        self.spec = spec
        self.weight = weight
        self.turned = turned
        """Whether the parameter of a linear layer is `(in, out)`."""
        self.bias: nn.Parameter | None
        self.register_parameter("bias", bias)
        self.batch_norm = batch_norm
        self.batch_norm_before = batch_norm_before
        self.form: BatchNormForm = form
        self.noise = noise if noise is not None else NoiseSource()
        self.log_range = nn.Parameter(weight.new_full((), math.log(INITIAL_RANGE)).detach())
        # Frozen weights keep their conductances, which are fractions of the window.
        self.log_range.requires_grad_(has_window(spec) and weight.requires_grad)
        self.log_tile_adc_V: nn.Parameter | None
        self.register_parameter("log_tile_adc_V", self._first_full_scales())
        self.watch_partial_sums: Callable[[Tensor], None] | None = None
        """Called with the voltages of the tiles' amplifiers, `(tiles, ...)`, before any limit."""
        self.noise_strength: Tensor
        self.register_buffer("noise_strength", weight.new_ones(()).detach(), persistent=False)
        self.batch_norm_frozen = False
        self.fixed_error: PairError | None = None
        """Errors of the devices of a certain chip."""
        self.fixed_amplifiers: LayerAmplifiers | None = None
        """Errors of the amplifiers of a certain chip."""
        self.fixed_draw: Draw | None = None
        """Numbers of the readings of a certain chip."""
        self.fixed_trim_V: Tensor | None = None
        """What the bias DACs of a certain chip add, `(out,)`, V."""

    def extra_repr(self) -> str:
        """One line for `print(model)`."""
        g = self.geometry
        return f"{g.kind}, {g.in_channels} -> {g.out_channels}, kernel={g.kernel}, groups={g.groups}, form={self.form}"

    @property
    def spec(self) -> HardwareSpec:
        """The hardware; another one of the same device window may take its place for a while."""
        return self._spec

    @spec.setter
    def spec(self, spec: HardwareSpec) -> None:
        self._spec = spec
        self.readout = LayerReadout.of(self.geometry, spec)

    def forward(
        self,
        voltage: Tensor,
        alpha_in: Tensor,
        alpha_out: Tensor,
        error: ChipSample | None = None,
        *,
        digital: Tensor | None = None,
        within_read: bool = False,
        rectifies: bool = False,
        drives_word_lines: bool = False,
        normalised: tuple[Tensor, Tensor | None] | None = None,
    ) -> Tensor:
        """Word-line voltages to amplifier outputs.

        Args:
            voltage: V, `(..., in)` or `(batch, in, *space)`.
            alpha_in: scale of the signal that enters, scalar or `(in,)`, V per unit.
            alpha_out: scale of the signal that leaves, scalar or `(out,)`, V per unit.
            error: errors of the chip to use instead of new ones (a layer called twice is one set of devices).
            digital: the digital values of which the input DAC made `voltage`, where it drives this layer directly.
            within_read: `voltage` is known to be within the read threshold (see `hrat.circuit.merging`).
            rectifies: a ReLU stands behind the amplifiers.
            drives_word_lines: nothing but crossbars reads the output, which is then held within the read threshold.
            normalised: what the batch norm in front normalises, `(batch, channels, *space)`, with its scale if these
                are volts; `voltage` itself if nothing is given.

        Returns:
            V, `(..., out)` or `(batch, out, *space)`.
        """
        lines = self._word_lines(voltage, alpha_in, digital, within_read)
        stage = self._output_stage(rectifies, drives_word_lines)
        before = terms_before(self, *(normalised or (lines.voltage, alpha_in)))
        at = self._pass(lines, alpha_in, alpha_out, before, error, stage)
        statistics = statistics_of(self.form, training=self.training, frozen=not self.learns(self.batch_norm))
        return statistics.output(self, at)

    def learns(self, batch_norm: _BatchNorm | None) -> bool:
        """Whether one of this layer's batch norms follows the statistics of each batch now."""
        if batch_norm is None or stays_frozen(batch_norm):
            return False
        # One that is in eval mode by itself was frozen apart from the others.
        return batch_norm.training and self.training and not self.batch_norm_frozen

    def fuse(
        self,
        alpha_in: Tensor,
        alpha_out: Tensor,
        before: BatchNormTerms | None,
        after: BatchNormTerms | None,
        want_bias: bool = True,
    ) -> Fused:
        """W' in PyTorch layout and b', `(out,)`, V, of this layer; see `hrat.nn.fusing.fuse`."""
        return fuse(
            at_least_single(self.weight.t() if self.turned else self.weight),
            None if self.bias is None else at_least_single(self.bias),
            self.geometry,
            alpha_in=alpha_in,
            alpha_out=alpha_out,
            after=after,
            before=before,
            want_bias=want_bias,
        )

    def crossbar(self, at: ForwardPass, fused: Fused, bias_V: Tensor | None = None) -> Tensor:
        """`(Q(W') + error) v + bias`: `R_f (I+ - I-)` and the bias through amplifiers without limits, V."""
        weights = self._weights(fused, at)
        if not self.readout.is_one_product:
            return self._volts(at, weights, bias_V)
        out = at.driven.apply(_scaled(self._difference(weights, at.errors), weights.range), bias_V)
        return self.amplified(at, out, weights)

    def crossbar_in_windows(self, at: ForwardPass, fused: Fused) -> tuple[Tensor, Weights]:
        """`(Q(W') + error) v` in units of the window, in front of the last amplifiers, and the weights."""
        weights = self._weights(fused, at)
        if self.readout.is_one_product:
            return at.driven.apply(self._difference(weights, at.errors)), weights
        return self._volts(at, weights, None, last=False) / weights.range, weights

    def amplified(self, at: ForwardPass, out: Tensor, weights: Weights) -> Tensor:
        """What the last amplifiers make of ideal outputs, before their limits, V; with ADCs of tiles it is in the sum.

        Args:
            at: the forward pass.
            out: what ideal amplifiers would yield, V.
            weights: those that are realised.
        """
        if weights.errors is None or self.readout.tiles is not None:
            return out
        return self.readout.last_amplified(out, at.driven.voltage, weights.errors, at.draw)

    def targets(self, alpha_in: Tensor, alpha_out: Tensor) -> LayerTargets:
        """Targets of this layer for the hardware, in eval mode."""
        fused = self._fused_in_eval(alpha_in, alpha_out)
        fraction, range_ = self._realised(fused)
        return LayerTargets(fraction, range_, fused.bias_V)

    def fused_weight(self, alpha_in: Tensor, alpha_out: Tensor) -> Tensor:
        """W' of eval mode before any restriction, PyTorch layout: the shape of the weight."""
        fused = self._fused_in_eval(alpha_in, alpha_out)
        return fused.weight * self.geometry.out_view(fused.gain)

    def held(self, alpha_in: Tensor, alpha_out: Tensor, error: ChipSample | None) -> Callable[[Tensor], Tensor]:
        """The layer for several calls in a row, such as the steps of a recurrence: volts to volts, devices set once.

        For a layer without batch norms, whose word lines are driven by a DAC.
        """
        if not self.readout.is_one_product:
            return lambda voltage: self(voltage, alpha_in, alpha_out, error, within_read=True)
        stage = self._output_stage(rectifies=False, drives_word_lines=False)
        fused = self.fuse(alpha_in, alpha_out, None, None)
        # The voltage of each call takes the place of these lines; nothing else of them is used.
        nothing = WordLines(self.geometry, alpha_in, None, alpha_in, math.inf)
        at = self._pass(nothing, alpha_in, alpha_out, None, error, stage)
        weights = self._weights(fused, at)
        weight = _scaled(self._difference(weights, at.errors), weights.range)
        bias_V = self.trimmed(None if fused.bias_V is None else stage.bias(fused.bias_V))

        def outputs(voltage: Tensor) -> Tensor:
            voltage = conducting_V(voltage, self.spec.device)
            out = self.geometry.apply(voltage, weight, bias_V)
            return stage.limit_(self.readout.last_amplified(out, voltage, weights.errors, at.draw))

        return outputs

    def draw_error(self, alpha_in: Tensor, alpha_out: Tensor) -> ChipSample | None:
        """Errors of devices and amplifiers for all calls of the layer in this step; None if none are drawn."""
        misses = has_error(self.spec.programming, self.spec.faults)
        if not self.training or not (misses or has_amplifier_errors(self.spec.periphery)):
            return None
        with torch.no_grad():
            devices = None
            if misses:
                fraction = self.targets(alpha_in, alpha_out).fraction
                devices = draw_pair_error(
                    fraction, self.geometry, self.spec, generator=self.noise.generator, strength=self.noise_strength
                )
            return ChipSample(devices, self._drawn_amplifiers())

    @property
    def like(self) -> Tensor:
        """Has the number type and device of conductances and voltages; no values."""
        return at_least_single(self.weight.detach()[:0])

    @property
    def tile_adc_V(self) -> Tensor | None:
        """Full scale of the ADCs of each tile's partial sums, `(tiles,)`, V; None where currents are summed."""
        return None if self.log_tile_adc_V is None else at_least_single(self.log_tile_adc_V).exp()

    def _first_full_scales(self) -> nn.Parameter | None:
        if self.readout.tiles is None:
            return None
        periphery, count = self.spec.periphery, self.readout.n_sums
        full_scale_V = periphery.v_tile_adc_V
        if periphery.learn_tile_adc:
            full_scale_V /= math.sqrt(count)  # independent terms of a sum that is to reach all of it
        log_V = self.weight.new_full((count,), math.log(full_scale_V)).detach()
        return nn.Parameter(log_V, requires_grad=periphery.learn_tile_adc)

    def _word_lines(self, voltage: Tensor, alpha_in: Tensor, digital: Tensor | None, within_read: bool) -> WordLines:
        # A batch norm in front takes statistics of the voltages, and tiles are worked on one by one: these need the
        # gradient of the voltages.
        needs_gradient = self.batch_norm_before is not None or self.readout.tiles is not None
        needs_gradient = needs_gradient or is_curved(self.spec.device)
        if digital is not None and (digital.requires_grad or needs_gradient):
            digital = None
        return WordLines.driven(
            voltage, self.geometry, self.spec, alpha=alpha_in, digital=digital, within_read=within_read
        )

    def _output_stage(self, rectifies: bool, drives_word_lines: bool) -> OutputStage:
        periphery = self.spec.periphery
        if self.readout.tiles is not None:  # what leaves is digital: the limits are those of each partial sum
            return OutputStage(None, periphery, 0.0 if rectifies else -math.inf, math.inf)
        device = self.spec.device if drives_word_lines else None
        low_V, high_V = amplifier_limits_V(periphery, device, rectifies=rectifies)
        dac_bits = periphery.bias_dac_bits if periphery.limit_bias_dac else None
        return OutputStage(dac_bits, periphery, low_V, high_V)

    def _pass(
        self,
        lines: WordLines,
        alpha_in: Tensor,
        alpha_out: Tensor,
        before: BatchNormTerms | None,
        given: ChipSample | None,
        stage: OutputStage,
    ) -> ForwardPass:
        devices = self.fixed_error if given is None else given.devices
        errors = DeviceErrors(
            self.geometry, self.spec, devices, self.training, self.noise.generator, self.noise_strength
        )
        amplifiers, draw, each = self._amplifiers(given), self._draw(given), self._draws_image_offsets(given)
        driven = lines.curved(self.spec.device)
        return ForwardPass(
            lines, driven, alpha_in, alpha_out, before, errors, amplifiers, draw, stage, image_offsets=each
        )

    def _amplifiers(self, given: ChipSample | None) -> LayerAmplifiers:
        """Errors of the amplifiers: those given, of a certain chip, new ones in training, else none but the gain."""
        if given is not None:
            return given.amplifiers
        if self.fixed_amplifiers is not None:
            return self.fixed_amplifiers
        return self._drawn_amplifiers(offsets=not self._draws_image_offsets(given))

    def _drawn_amplifiers(self, *, offsets: bool = True) -> LayerAmplifiers:
        return draw_layer_amplifiers(
            self.readout,
            self.spec,
            self.like,
            generator=lambda _: self.noise.generator,
            strength=self.noise_strength if self.training else None,
            offsets=offsets,
        )

    def _draws_image_offsets(self, given: ChipSample | None) -> bool:
        """Whether offsets are drawn anew for each image: in training, unless several calls share a chip."""
        own = given is None and self.fixed_amplifiers is None
        return own and self.training and offset_V(self.spec.periphery) > 0

    def _draw(self, given: ChipSample | None) -> Draw | None:
        """Numbers of this reading: of a certain chip, or new ones in training."""
        reads = has_reading_errors(self.spec.device, self.spec.periphery)
        if not reads and not self._draws_image_offsets(given):
            return None
        if self.fixed_draw is not None or not self.training:
            return self.fixed_draw
        return AnyReads(self.noise.generator, self.noise_strength).of_layer("")

    def _fused_in_eval(self, alpha_in: Tensor, alpha_out: Tensor) -> Fused:
        before = running_terms_before(self)
        after = None if self.batch_norm is None else terms_of(self.batch_norm)
        return self.fuse(alpha_in, alpha_out, before, after)

    def _realised(self, fused: Fused) -> tuple[Tensor, Tensor]:
        """`Q(W')` in units of the window; and the window, which is the gain of a full pair."""
        if has_window(self.spec):
            log_range = at_least_single(self.log_range)
            return realise(
                fused.weight, fused.gain, log_range, self.geometry, self.readout.amplifiers, self.spec.device
            )
        weight = fused.weight * self.geometry.out_view(fused.gain)
        tiny = torch.finfo(weight.dtype).tiny ** 0.5  # a layer of zeros must not divide by zero
        largest = torch.linalg.vector_norm(weight.detach(), math.inf).clamp(min=tiny)
        return _scaled(weight, 1 / largest), largest

    def _weights(self, fused: Fused, at: ForwardPass) -> Weights:
        """`Q(W')` with the errors of devices, where these are needed apart, and of amplifiers."""
        fraction, range_ = self._realised(fused)
        programmed = seen = None
        if self.readout.amplifiers.inner_amplifiers or self.spec.array.limit_wires:
            programmed = self._programmed(fraction, at.errors.of_pair(fraction))
            seen = self._through_wires(programmed)
        errors = None
        noisy = at.draw is not None and has_read_noise(self.spec.device)
        if at.amplifiers or noisy:
            # Where a pair's error is drawn in one number, loads and noise are those of the targets: their relative
            # error is that of a sum over all devices of a bit line.
            programmed = programmed or self._programmed(fraction, at.errors.given)
            errors = errors_of_layer(
                self.readout,
                self.spec,
                seen or programmed,
                range_ / self.readout.amplifiers.full_S(self.spec.device),
                at.amplifiers,
                has_bias=self.has_bias,
                squares_S2=(programmed[0].detach().square(), programmed[1].detach().square()) if noisy else None,
            )
            if errors is not None and at.image_offsets:
                errors = errors._replace(image_offset_V=(offset_V(self.spec.periphery),))
        return Weights(fraction, range_, seen, errors)

    def trimmed(self, bias_V: Tensor | None) -> Tensor | None:
        """Biases behind the DAC, `(out,)`, V, with what the DACs of a certain chip add."""
        return bias_V if bias_V is None or self.fixed_trim_V is None else bias_V + self.fixed_trim_V

    @property
    def has_bias(self) -> bool:
        """Whether the chip adds something to the product."""
        return not (self.bias is None and self.batch_norm is None and self.batch_norm_before is None)

    def _volts(self, at: ForwardPass, weights: Weights, bias_V: Tensor | None, *, last: bool = True) -> Tensor:
        """`R_f (I+ - I-)`, V, where amplifiers or converters inside act on it; of tiles with ADCs their digital sum."""
        within = weights.errors is not None  # what an amplifier loses of the bias too
        out = self.readout.volts(
            at.driven.voltage,
            self._gains(weights, at.errors),
            full_scale_V=self.tile_adc_V,
            bias_V=bias_V if within else None,
            product=at.driven.apply_as,
            digital_sum=digital_sum_ste,
            watch=self.watch_partial_sums,
            errors=weights.errors,
            draw=at.draw,
            last=last,
        )
        return out if bias_V is None or within else out + self.geometry.channel_view(bias_V)

    def _gains(self, weights: Weights, errors: DeviceErrors) -> tuple[Tensor, ...]:
        """`R_f G` of each amplifier, in PyTorch layout, no unit."""
        if not self.readout.amplifiers.inner_amplifiers:
            return (_scaled(self._difference(weights, errors), weights.range),)
        assert weights.seen_S is not None
        r_f_ohm = weights.range / self.readout.amplifiers.full_S(self.spec.device)
        return tuple(g_S * r_f_ohm for g_S in self.readout.amplifiers.terms(*weights.seen_S))

    def _difference(self, weights: Weights, errors: DeviceErrors) -> Tensor:
        """`G+ - G-` as the bit lines see it, a fraction of the window; may overwrite the fraction of `weights`."""
        if self.spec.array.limit_wires:
            assert weights.seen_S is not None
            (difference_S,) = self.readout.amplifiers.terms(*weights.seen_S)
            return difference_S / self.readout.amplifiers.full_S(self.spec.device)
        error = errors.of_difference(weights.fraction)
        if error is None:
            return weights.fraction
        # The gradient of what amplifiers do needs the fraction as it was.
        return weights.fraction.add_(error) if weights.errors is None else weights.fraction + error

    def _programmed(self, fraction: Tensor, error: PairError | None) -> tuple[Tensor, Tensor]:
        """`(G+, G-)` with their error, each in PyTorch layout, S."""
        g_pos_S, g_neg_S = pair_of(fraction, self.geometry, self.readout.amplifiers, self.spec.device)
        return (g_pos_S, g_neg_S) if error is None else (g_pos_S + error[0], g_neg_S + error[1])

    def _through_wires(self, pair_S: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """`(G+, G-)` as amplifiers see them, each in PyTorch layout, S."""
        if not self.spec.array.limit_wires:
            return pair_S
        negatives = self.readout.negatives
        g_pos_S, g_neg_S = effective_pair(self.geometry.to_matrix(pair_S[0]), negatives.to_matrix(pair_S[1]), self.spec)
        return self.geometry.from_matrix(g_pos_S), negatives.from_matrix(g_neg_S)


def _scaled(value: Tensor, factor: Tensor) -> Tensor:
    """`value * factor`, in the memory of `value`, which nobody else may read, where no gradient needs that."""
    if torch.is_grad_enabled() and (value.requires_grad or factor.requires_grad):
        return value * factor
    return value.mul_(factor)
