"""Partial sums of a layer's tiles through ADCs of their own: the chip's formula forward, its gradient backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hrat.physics import clamp_to, convert, digital_sum
from hrat.spec import HardwareSpec

__all__ = ["digital_sum_ste"]


class _DigitalSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, partial_V: Tensor, full_scale_V: Tensor, spec: HardwareSpec) -> Tensor:
        ctx.save_for_backward(partial_V, full_scale_V)
        ctx.spec = spec
        return digital_sum(partial_V, full_scale_V, spec)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        # Of ADC(p) = F round(p / F), rounding being passed straight through, with x = p / F within [-1, 1]:
        #   dADC/dp = 1,   dADC/dF = round(x) - x,    and beyond:  dADC/dp = 0,   dADC/dF = sign(x).
        partial_V, full_scale_V = ctx.saved_tensors
        periphery = ctx.spec.periphery
        passes = torch.ones_like(partial_V, dtype=torch.bool)
        if periphery.limit_swing:
            passes = partial_V.abs() <= periphery.v_swing_V
            partial_V = clamp_to(partial_V, periphery.v_swing_V)
        if not periphery.limit_tile_adc or periphery.tile_adc_bits is None:
            return grad * passes, torch.zeros_like(full_scale_V), None
        x = partial_V / full_scale_V.view(-1, *(1,) * (partial_V.ndim - 1))
        inside = x.abs() <= 1
        of_scale = convert(x, periphery.tile_adc_bits, 1.0).sub_(x * inside)
        return grad * (passes & inside), (of_scale * grad).flatten(1).sum(1), None


def digital_sum_ste(partial_V: Tensor, full_scale_V: Tensor, spec: HardwareSpec) -> Tensor:
    """`hrat.physics.digital_sum` with a straight-through gradient, and one of the full scales as of a learned step.

    The gradient of a full scale weighs what its steps lose inside against what they cut off outside (Esser et al.,
    Learned Step Size Quantization, ICLR 2020, of a full scale in place of a step).

    Args:
        partial_V: `(tiles, ...)`, V.
        full_scale_V: `(tiles,)`, V.
        spec: the hardware.
    """
    partial_V = partial_V.to(full_scale_V.dtype)  # of autocast's type the steps of a fine ADC would be too fine
    return _DigitalSum.apply(partial_V, full_scale_V, spec)  # type: ignore[no-any-return, no-untyped-call]
