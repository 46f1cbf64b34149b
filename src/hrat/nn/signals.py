"""Modules between volts and digital numbers: scales, converters, a summing amplifier's swing, output rescaling."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from hrat.nn.fusing import BatchNormTerms, stays_frozen, track
from hrat.nn.numbers import DigitalBorder, at_least_single
from hrat.nn.ranks import world_size
from hrat.nn.straight_through import batch_statistics, convert_ste
from hrat.physics import amplifier_limits_V, digital_value, input_voltage, relu_floor_V, to_digital_units
from hrat.spec import HardwareSpec

__all__ = [
    "DigitalBatchNorm",
    "GradientStop",
    "InputDac",
    "OutputAdc",
    "OutputRescale",
    "Scale",
    "SwingClamp",
    "batch_norm_over_ranks",
]


class Scale(nn.Module):
    """The learned positive scale of a signal, `alpha = exp(log_alpha)`, in volts per digital unit of the signal.

    Nothing on the chip implements it: it vanishes into the weights and biases on both sides of the signal.
    """

    def __init__(self, alpha_V: float, channels: int | None = None) -> None:
        """Start at `alpha_V`; one value for the signal, or one for each of its `channels`."""
        super().__init__()
        shape = () if channels is None else (channels,)
        self.log_alpha = nn.Parameter(torch.full(shape, math.log(alpha_V)))

    def forward(self) -> Tensor:
        """`()` or `(channels,)`, V per unit."""
        return at_least_single(self.log_alpha).exp()

    @torch.no_grad()
    def set(self, alpha_V: Tensor | float) -> None:
        """Set the scale to `alpha_V`, `()` or `(channels,)`, V per digital unit."""
        value = torch.as_tensor(alpha_V, dtype=self.log_alpha.dtype, device=self.log_alpha.device)
        self.log_alpha.copy_(value.log().expand_as(self.log_alpha))


class InputDac(DigitalBorder):
    """Digital values become word-line voltages: `v = DAC(clamp_read(alpha * x))`, V."""

    def __init__(self, spec: HardwareSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, x: Tensor, alpha: Tensor) -> Tensor:
        """`x` in digital units, any shape -> V."""
        return input_voltage(self.into_analog(x), alpha, self.spec.device, self.spec.periphery, convert_ste)


class OutputAdc(DigitalBorder):
    """A voltage becomes a digital value in front of a digital operation: `x = ADC(clamp_swing(v)) / alpha`."""

    def __init__(self, spec: HardwareSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, voltage: Tensor, alpha: Tensor) -> Tensor:
        """V, any shape -> digital units."""
        return self.into_digital(digital_value(voltage, alpha, self.spec.periphery, convert_ste))


class OutputRescale(DigitalBorder):
    """Output rescaling, `x = v / alpha`: undoes the scale of a value that leaves the chip. No circuit does it."""

    def forward(self, voltage: Tensor, alpha: Tensor) -> Tensor:
        """V, any shape -> digital units."""
        return self.into_digital(to_digital_units(voltage, alpha))


class GradientStop(nn.Module):
    """`detach` on a wire: the signal has no gradient in front of here, and its scale is free as everywhere.

    The digital value `x = v / alpha` is what is detached. The voltage that carries it grows with the scale, so that
    this gradient must stay, or training would be told that a larger scale makes a smaller signal.
    """

    def forward(self, voltage: Tensor, alpha: Tensor) -> Tensor:
        """V, `(batch, channels, ...)` -> V, the same."""
        stopped = voltage.detach()
        if not alpha.requires_grad:
            return stopped
        one = alpha / alpha.detach()
        return stopped * (one.view(-1, *(1,) * (voltage.ndim - 2)) if one.ndim else one)


class DigitalBatchNorm(nn.Module):
    """A batch norm that no crossbar could take, computed digitally; frozen with the fused ones.

    So is an instance norm with running statistics, which in eval mode is a batch norm. Its statistics are those of
    each rank's own images.
    """

    def __init__(self, batch_norm: _BatchNorm | _InstanceNorm) -> None:
        super().__init__()
        self.batch_norm = batch_norm
        self.batch_norm_frozen = False

    def forward(self, x: Tensor) -> Tensor:
        """Digital units, `(batch, channels, ...)` -> digital units of that shape."""
        bn = self.batch_norm
        was_training = bn.training  # in eval mode by itself it was frozen apart from the others
        bn.train(was_training and self.training and not self.batch_norm_frozen and not stays_frozen(bn))
        shared = world_size() > 1 and isinstance(bn, _BatchNorm)
        out: Tensor = batch_norm_over_ranks(bn, x) if shared else bn(x)  # type: ignore[arg-type]
        bn.train(was_training)
        return out


def batch_norm_over_ranks(bn: _BatchNorm, x: Tensor) -> Tensor:
    """`bn(x)`, `(batch, channels, ...)`, by statistics over all ranks; on a CPU too, unlike torch's SyncBatchNorm."""
    if not bn.training:
        return F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, False, 0.0, bn.eps)
    mean, var = batch_statistics(x)
    if bn.running_mean is not None:
        track(bn, mean, var, x.numel() // x.shape[1] * world_size())
    terms = BatchNormTerms(mean, var, bn.weight, bn.bias, bn.eps, torch.rsqrt(var + bn.eps))
    view = (-1, *(1,) * (x.ndim - 2))
    return (x * terms.gain.view(view) + terms.shift(terms.gain).view(view)).to(x.dtype)


class SwingClamp(nn.Module):
    """Output swing of the amplifier that adds signals."""

    def __init__(self, spec: HardwareSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, voltage: Tensor) -> Tensor:
        """V, any shape -> V."""
        low_V, high_V = amplifier_limits_V(self.spec.periphery)
        return voltage.clamp(low_V, high_V) if math.isfinite(high_V) else voltage


class Rectifier(nn.Module):
    """A ReLU on voltages, behind no crossbar's amplifier: an amplifier of its own with a single supply."""

    def __init__(self, spec: HardwareSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, voltage: Tensor) -> Tensor:
        """V, any shape -> V."""
        floor_V = relu_floor_V(self.spec.periphery)
        # No gradient at the end itself, as of a ReLU; `clamp` has one there.
        return F.relu(voltage) if floor_V == 0 else F.hardtanh(voltage, floor_V, math.inf)
