"""Converters, the limits of amplifiers, partial sums through ADCs, and the scale of a digital input."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from hrat.encoding import Geometry
from hrat.nn.scratch import scratch_like
from hrat.nn.straight_through.memory import clamp_backward, product_into
from hrat.physics import amplifier_limits_V, bias_full_scale_V, convert, digital_sum
from hrat.spec import Periphery

__all__ = ["OutputStage", "apply_to_digital_input", "convert_ste", "digital_sum_ste"]


class _Convert(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, voltage_V: Tensor, bits: int, full_scale_V: Tensor | float) -> Tensor:
        ctx.save_for_backward(voltage_V)
        ctx.full_scale_V = full_scale_V
        return convert(voltage_V, bits, full_scale_V)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (voltage_V,) = ctx.saved_tensors
        return grad * (voltage_V.abs() <= ctx.full_scale_V), None, None


def convert_ste(voltage_V: Tensor, bits: int, full_scale_V: float) -> Tensor:
    """A DAC or ADC of `bits` over `+-full_scale_V`: V, any shape -> V; gradient 1 inside, 0 where it saturates."""
    return _Convert.apply(voltage_V, bits, full_scale_V)  # type: ignore[no-any-return, no-untyped-call]


@dataclass(frozen=True)
class OutputStage:
    """The bias DAC and the amplifier's limits behind the bit lines of a layer."""

    dac_bits: int | None
    """Resolution of the bias DAC; None: the bias has no steps."""
    periphery: Periphery
    low_V: float
    high_V: float
    """Limits of the output, infinite where there is none."""

    def bias(self, bias_V: Tensor) -> Tensor:
        """Round a bias to the steps of the DAC, `(out,)`, V; straight-through gradient."""
        if self.dac_bits is None:
            return bias_V
        return _Convert.apply(bias_V, self.dac_bits, bias_full_scale_V(bias_V, self.periphery))  # type: ignore[no-any-return, no-untyped-call]

    def convert(self, bias_V: Tensor) -> Tensor:
        """Round a bias to the steps of the DAC, `(out,)`, V; without gradient."""
        if self.dac_bits is None:
            return bias_V
        return convert(bias_V, self.dac_bits, bias_full_scale_V(bias_V, self.periphery))

    def without_limits(self) -> OutputStage:
        """The stage with the bias DAC alone."""
        return replace(self, low_V=-math.inf, high_V=math.inf)

    def limit_(self, voltage_V: Tensor) -> Tensor:
        """Clamp the amplifier's output, any shape, V, in place; gradient 0 beyond the limits."""
        if not math.isfinite(self.low_V) and not math.isfinite(self.high_V):
            return voltage_V
        # The same values as `hrat.physics.clamp_to`; its gradient needs the result and not what was overwritten.
        return F.hardtanh(voltage_V, self.low_V, self.high_V, inplace=True)


class _WithScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, out: Tensor, alpha: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, limit_V: float
    ) -> Tensor:
        ctx.save_for_backward(alpha, x, weight)
        ctx.geometry, ctx.limit_V = geometry, limit_V
        ctx.mark_dirty(out)  # the very same tensor, which the amplifier's limits may then change in place
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        alpha, x, weight = ctx.saved_tensors
        # dv/dalpha is x where the DAC does not saturate: up to the limit and at it, where the largest input may lie.
        scaled, limit_V = product_into(x, alpha, scratch_like(x)), ctx.limit_V * (1 + torch.finfo(x.dtype).eps)
        tangent = clamp_backward(x, scaled, -limit_V, limit_V, scaled)
        along = ctx.geometry.apply(tangent.to(grad.dtype), weight.to(grad.dtype))
        return grad, torch.dot(grad.flatten(), along.flatten()).to(alpha.dtype), None, None, None, None


def apply_to_digital_input(
    geometry: Geometry,
    voltage: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    x: Tensor,
    alpha: Tensor,
    limit_V: float,
) -> Tensor:
    """The operation on `voltage = DAC(alpha x)`, where the gradient of `x` itself is not wanted.

    Of the gradient of all voltages training needs only the sum `dL/dalpha = sum(dL/dv * dv/dalpha)`. The operation is
    linear, so that this is `sum(dL/dout * operation(dv/dalpha))`: the operation once more in place of its transpose,
    which for the few channels of an image is many times slower.

    Args:
        geometry: the operation.
        voltage: `DAC(alpha x)`, V.
        weight: weight of the shape `geometry.weight_shape`.
        bias: `(out,)`.
        x: digital input, of the shape of `voltage`.
        alpha: scalar, V per unit.
        limit_V: where the DAC saturates.
    """
    out = geometry.apply(voltage.detach(), weight, bias)
    if not (torch.is_grad_enabled() and alpha.requires_grad):
        return out
    return _WithScaleGradient.apply(out, alpha, x, weight.detach(), geometry, limit_V)  # type: ignore[no-any-return, no-untyped-call]


class _DigitalSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, partial_V: Tensor, full_scale_V: Tensor, periphery: Periphery) -> Tensor:
        ctx.save_for_backward(partial_V, full_scale_V)
        ctx.periphery = periphery
        return digital_sum(partial_V, full_scale_V, periphery)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        # Of ADC(p) = F round(p / F), rounding being passed straight through, with x = p / F within [-1, 1]:
        #   dADC/dp = 1,   dADC/dF = round(x) - x,    and beyond:  dADC/dp = 0,   dADC/dF = sign(x).
        partial_V, full_scale_V = ctx.saved_tensors
        periphery: Periphery = ctx.periphery
        passes = torch.ones_like(partial_V, dtype=torch.bool)
        if periphery.limit_swing:
            low_V, high_V = amplifier_limits_V(periphery)
            passes = (low_V <= partial_V) & (partial_V <= high_V)
            partial_V = partial_V.clamp(low_V, high_V)
        if not periphery.limit_tile_adc or periphery.tile_adc_bits is None:
            return grad * passes, torch.zeros_like(full_scale_V), None
        x = partial_V / full_scale_V.view(-1, *(1,) * (partial_V.ndim - 1))
        inside = x.abs() <= 1
        of_scale = convert(x, periphery.tile_adc_bits, 1.0).sub_(x * inside)
        return grad * (passes & inside), (of_scale * grad).flatten(1).sum(1), None


def digital_sum_ste(partial_V: Tensor, full_scale_V: Tensor, periphery: Periphery) -> Tensor:
    """`hrat.physics.digital_sum` with a straight-through gradient, and one of the full scales as of a learned step.

    The gradient of a full scale weighs what its steps lose inside against what they cut off outside (Esser et al.,
    Learned Step Size Quantization, ICLR 2020, of a full scale in place of a step).

    Args:
        partial_V: `(tiles, ...)`, V.
        full_scale_V: `(tiles,)`, V.
        periphery: names swing and resolution.
    """
    partial_V = partial_V.to(full_scale_V.dtype)  # of autocast's type the steps of a fine ADC would be too fine
    return _DigitalSum.apply(partial_V, full_scale_V, periphery)  # type: ignore[no-any-return, no-untyped-call]
