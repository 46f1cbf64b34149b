"""The layer that trains as the chip computes: a linear operation with its batch norm, on a crossbar."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hrat.encoding import Geometry, encode_pair, has_window
from hrat.errors import ConversionError
from hrat.nn.functional import (
    BatchNormTerms,
    PairError,
    convert_ste,
    draw_difference_error,
    draw_pair_error,
    fuse,
    quantise_ste,
    weight_range,
)
from hrat.physics import clamp_to
from hrat.spec import HardwareSpec

__all__ = ["BATCH_NORM_FORMS", "BatchNormForm", "CrossbarLayer", "Fused", "NoiseSource"]

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
class Fused:
    """What a layer asks of the hardware."""

    weight: Tensor
    """W', PyTorch layout, dimensionless."""
    bias_V: Tensor | None
    """b', `(out,)`, V, before the DAC."""
    range: Tensor
    """Gain of a full pair, `R_f * (g_max_S - g_min_S)`, scalar."""


class CrossbarLayer(nn.Module):
    """Linear, convolution or transposed convolution, with the batch norms around it, under the hardware's restrictions.

        v_in  = clamp_read(v)
        W', b' = fused weights and bias                      (`hrat.nn.functional.fuse`)
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
        form: BatchNormForm = "two_pass",
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
        self.noise_strength: Tensor
        self.register_buffer("noise_strength", weight.new_ones(()).detach(), persistent=False)
        self.batch_norm_frozen = False
        self.fixed_error: PairError | None = None

    def extra_repr(self) -> str:
        """One line for `print(model)`."""
        g = self.geometry
        return f"{g.kind}, {g.in_channels} -> {g.out_channels}, kernel={g.kernel}, groups={g.groups}, form={self.form}"

    def forward(self, voltage: Tensor, alpha_in: Tensor, alpha_out: Tensor, error: PairError | None = None) -> Tensor:
        """Word-line voltages to amplifier outputs.

        Args:
            voltage: V, `(..., in)` or `(batch, in, *space)`.
            alpha_in: scale of the signal that enters, scalar or `(in,)`, V per unit.
            alpha_out: scale of the signal that leaves, scalar or `(out,)`, V per unit.
            error: programming error to use instead of a new one (a layer called twice has one set of devices).

        Returns:
            V, `(..., out)` or `(batch, out, *space)`.
        """
        if self.spec.device.limit_read_voltage:
            voltage = clamp_to(voltage, self.spec.device.v_read_V)
        learns_statistics = self.training and not self.batch_norm_frozen
        before = self._terms_before(voltage, alpha_in, learns_statistics)
        if self.form == "unfused" and self.training and self.batch_norm is not None:
            out = self._unfused(voltage, alpha_in, alpha_out, before, error)
        elif self.batch_norm is None or not learns_statistics:
            after = None if self.batch_norm is None else _terms(self.batch_norm)
            fused = self._fused(alpha_in, alpha_out, before, after)
            out = self._analog(voltage, fused, error)
        elif self.form == "one_pass":
            out = self._one_pass(voltage, alpha_in, alpha_out, before, error)
        else:
            after = self._terms_of_batch(voltage, alpha_in, before)
            out = self._analog(voltage, self._fused(alpha_in, alpha_out, before, after), error)
        return clamp_to(out, self.spec.periphery.v_swing_V) if self.spec.periphery.limit_swing else out

    def fused(self, alpha_in: Tensor, alpha_out: Tensor) -> Fused:
        """What this layer, as it is in eval mode, asks of the hardware."""
        before = None if self.batch_norm_before is None else _terms(self.batch_norm_before)
        after = None if self.batch_norm is None else _terms(self.batch_norm)
        return self._fused(alpha_in, alpha_out, before, after)

    def draw_error(self, alpha_in: Tensor, alpha_out: Tensor) -> PairError | None:
        """One error sample for all calls of a shared layer in this step; None where `forward` needs none."""
        if not self.training or not self.spec.programming.limit_error:
            return None
        with torch.no_grad():
            fused = self.fused(alpha_in, alpha_out)
            quantised = quantise_ste(fused.weight / fused.range, self.spec.device)
            return draw_pair_error(quantised, self.spec, generator=self.noise.generator, strength=self.noise_strength)

    # ---- the analog operation ----------------------------------------------------------------------------------

    def _fused(
        self, alpha_in: Tensor, alpha_out: Tensor, before: BatchNormTerms | None, after: BatchNormTerms | None
    ) -> Fused:
        weight, bias = fuse(
            self.weight,
            self.bias,
            self.geometry,
            alpha_in=alpha_in,
            alpha_out=alpha_out,
            after=after,
            before=before,
        )
        return Fused(weight, bias, weight_range(weight, self.log_range, self.spec))

    def _analog(self, voltage: Tensor, fused: Fused, error: PairError | None) -> Tensor:
        """`(Q(W') + error) v + DAC(b')`, before the swing of the amplifier that yields it."""
        out = self._crossbar(voltage, fused, error)
        if fused.bias_V is not None:
            out = out + self.geometry.channel_view(self._bias_dac(fused.bias_V))
        return out

    def _bias_dac(self, bias_V: Tensor) -> Tensor:
        periphery = self.spec.periphery
        if periphery.limit_bias_dac and periphery.bias_dac_bits is not None:
            return convert_ste(bias_V, periphery.bias_dac_bits, periphery.v_bias_V)
        return bias_V

    def _crossbar(self, voltage: Tensor, fused: Fused, error: PairError | None) -> Tensor:
        """`R_f (I+ - I-)`, V."""
        if self.spec.periphery.readout == "two_stage":
            return self._two_stage(voltage, fused, error)
        if not has_window(self.spec):
            return self.geometry.apply(voltage, fused.weight)
        fraction = quantise_ste(fused.weight / fused.range, self.spec.device)
        sample = self._difference_error(fraction, error)
        realised = fraction if sample is None else fraction + sample
        return self.geometry.apply(voltage, realised * fused.range)

    def _two_stage(self, voltage: Tensor, fused: Fused, error: PairError | None) -> Tensor:
        """`I-` passes an amplifier of its own, which saturates like any other, before it is subtracted."""
        device, periphery = self.spec.device, self.spec.periphery
        fraction = fused.weight / fused.range
        if has_window(self.spec):
            fraction = quantise_ste(fraction, device)
        sample = self._pair_error(fraction, error)
        # encode_pair is piecewise linear in the fraction, so its gradient is the right one.
        g_pos_S, g_neg_S = encode_pair(fraction, device)
        if sample is not None:
            g_pos_S, g_neg_S = g_pos_S + sample[0], g_neg_S + sample[1]
        r_f_ohm = fused.range / device.g_range_S
        first = self.geometry.apply(voltage, g_neg_S * r_f_ohm)
        if periphery.limit_swing:
            first = clamp_to(first, periphery.v_swing_V)
        return self.geometry.apply(voltage, g_pos_S * r_f_ohm) - first

    def _pair_error(self, fraction: Tensor, error: PairError | None) -> PairError | None:
        """The error to use, in siemens: given, fixed, or newly drawn in training."""
        given = error if error is not None else self.fixed_error
        if given is not None or not self.training or not self.spec.programming.limit_error:
            return given
        return draw_pair_error(fraction, self.spec, generator=self.noise.generator, strength=self.noise_strength)

    def _difference_error(self, fraction: Tensor, error: PairError | None) -> Tensor | None:
        """The same for `G+ - G-`, as a fraction of the window: one draw for a pair where that is exact."""
        given = error if error is not None else self.fixed_error
        if given is not None:
            return (given[0] - given[1]) / self.spec.device.g_range_S
        if not self.training or not self.spec.programming.limit_error:
            return None
        return draw_difference_error(fraction, self.spec, generator=self.noise.generator, strength=self.noise_strength)

    # ---- batch statistics --------------------------------------------------------------------------------------

    def _terms_before(self, voltage: Tensor, alpha_in: Tensor, learns_statistics: bool) -> BatchNormTerms | None:
        if self.batch_norm_before is None:
            return None
        if not learns_statistics:
            return _terms(self.batch_norm_before)
        mean, var, count = _statistics(voltage, self.geometry)
        mean, var = mean / alpha_in, var / alpha_in**2
        _track(self.batch_norm_before, mean, var, count)
        return _terms(self.batch_norm_before, mean, var)

    def _terms_of_batch(self, voltage: Tensor, alpha_in: Tensor, before: BatchNormTerms | None) -> BatchNormTerms:
        """Statistics of the undistorted pre-activation, with gradient: `two_pass` and `slice`."""
        assert self.batch_norm is not None
        if self.form == "slice":
            voltage = voltage[: max(SLICE_AT_LEAST, -(-voltage.shape[0] // SLICE_OF_BATCH))]
        one = alpha_in.new_ones(())
        weight, bias = fuse(self.weight, self.bias, self.geometry, alpha_in=alpha_in, alpha_out=one, before=before)
        mean, var, count = _statistics(self.geometry.apply(voltage, weight), self.geometry)
        if bias is not None:
            mean = mean + bias
        _track(self.batch_norm, mean, var, count)
        return _terms(self.batch_norm, mean, var)

    def _one_pass(
        self,
        voltage: Tensor,
        alpha_in: Tensor,
        alpha_out: Tensor,
        before: BatchNormTerms | None,
        error: PairError | None,
    ) -> Tensor:
        """Fuse with the running statistics; normalise the distorted output `u` by its own, with weight `|gamma|`.

        `u = alpha_out * gain * (W x)` with `gain = gamma / sigma_running`, so that `(W x)` has mean
        `mean(u) / (alpha_out gain)` and variance `var(u) / (alpha_out gain)^2`. Channels whose gain is nearly zero
        carry no signal to measure and keep their running statistics.
        """
        assert self.batch_norm is not None
        terms = _terms(self.batch_norm)
        fused = self._fused(alpha_in, alpha_out, before, terms)
        u = self._crossbar(voltage, fused, error)
        mean_u, var_u, count = _statistics(u, self.geometry)
        gain = alpha_out * terms.gain
        # Relative to the layer's largest gain: below it, what the channel carries is error, not signal.
        live = gain.abs() > 1e-3 * gain.abs().amax()
        safe_gain = torch.where(live, gain, torch.ones_like(gain))
        with torch.no_grad():
            bias = 0.0 if before is None and self.bias is None else self._normal_bias(before)
            mean = torch.where(live, mean_u / safe_gain + bias, terms.mean)
            var = torch.where(live, var_u / safe_gain**2, terms.var)
            _track(self.batch_norm, mean, var, count)
        eps_u = terms.eps * safe_gain.detach() ** 2
        sign = torch.where(gain.detach() < 0, -1.0, 1.0)
        gamma = torch.ones_like(gain) if terms.gamma is None else terms.gamma
        # gamma * sign, not |gamma|: the gradient then passes through gamma = 0 as well.
        factor = alpha_out * gamma * sign * torch.rsqrt(var_u + eps_u)
        factor = torch.where(live, factor, torch.ones_like(factor))
        beta = torch.zeros_like(gain) if terms.beta is None else terms.beta
        # For a dead channel the offset is that of the running statistics, as on the chip.
        chip_bias = fused.bias_V if fused.bias_V is not None else torch.zeros_like(gain)
        offset = torch.where(live, alpha_out * beta - factor * mean_u, chip_bias)
        view = self.geometry.channel_view
        return u * view(factor) + view(self._bias_dac(offset))

    def _normal_bias(self, before: BatchNormTerms | None) -> Tensor:
        """Bias of the operation in normal scale, with what a batch norm in front adds to it: `(out,)`."""
        one = self.weight.new_ones(())
        _, bias = fuse(self.weight, self.bias, self.geometry, alpha_in=one, alpha_out=one, before=before)
        assert bias is not None
        return bias

    def _unfused(
        self,
        voltage: Tensor,
        alpha_in: Tensor,
        alpha_out: Tensor,
        before: BatchNormTerms | None,
        error: PairError | None,
    ) -> Tensor:
        """Restrictions on the weights as they are; batch norm in floating point behind them."""
        assert self.batch_norm is not None
        one = self.weight.new_ones(())
        fused = self._fused(alpha_in, one, before, None)
        out = self._crossbar(voltage, fused, error)
        if fused.bias_V is not None:
            out = out + self.geometry.channel_view(fused.bias_V)
        terms = _terms(self.batch_norm)
        if not self.batch_norm_frozen:
            mean, var, count = _statistics(out, self.geometry)
            _track(self.batch_norm, mean, var, count)
            terms = _terms(self.batch_norm, mean, var)
        view = self.geometry.channel_view
        return out * view(alpha_out * terms.gain) + view(alpha_out * terms.shift)


def _terms(bn: _BatchNorm, mean: Tensor | None = None, var: Tensor | None = None) -> BatchNormTerms:
    """Batch norm with the given statistics, or with its running ones."""
    mean = bn.running_mean if mean is None else mean
    var = bn.running_var if var is None else var
    assert mean is not None  # prepare refuses batch norms that keep no running statistics
    assert var is not None
    return BatchNormTerms(mean, var, bn.weight, bn.bias, bn.eps)


def _statistics(x: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance of each channel, and how many values they were taken over."""
    dims = [0, *range(2, x.ndim)] if x.ndim > 1 else [0]
    count = x.numel() // x.shape[1]
    if count < 2:
        raise ConversionError(
            f"batch norm in training mode needs more than one value per channel, got a batch of shape {tuple(x.shape)} "
            f"({geometry.kind} with {geometry.out_channels} outputs); use a larger batch, drop the last incomplete "
            "one (drop_last=True), or freeze batch norm"
        )
    var, mean = torch.var_mean(x.float() if x.dtype in (torch.float16, torch.bfloat16) else x, dims, correction=0)
    return mean, var, count


@torch.no_grad()
def _track(bn: _BatchNorm, mean: Tensor, var: Tensor, count: int) -> None:
    """Update the running statistics as `torch.nn.BatchNorm` does: unbiased variance, `momentum` or plain average."""
    running_mean, running_var = cast(Tensor, bn.running_mean), cast(Tensor, bn.running_var)
    assert bn.num_batches_tracked is not None
    bn.num_batches_tracked.add_(1)
    weight: Tensor | float
    weight = 1.0 / bn.num_batches_tracked.to(running_mean.dtype) if bn.momentum is None else bn.momentum
    # New tensors, not in place: a compiled backward may read the statistics that the forward used once more, and would
    # find them overwritten.
    bn.running_mean = torch.lerp(running_mean, mean.detach().to(running_mean.dtype), weight)
    bn.running_var = torch.lerp(running_var, (var.detach() * (count / (count - 1))).to(running_var.dtype), weight)
