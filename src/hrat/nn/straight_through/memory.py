"""Building blocks of gradients that are written out: results go into memory that is there already."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["clamp_backward", "hardtanh_backward", "product_into"]

hardtanh_backward = torch.ops.aten.hardtanh_backward.default
_hardtanh_backward_out = torch.ops.aten.hardtanh_backward.grad_input


def product_into(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    """`a * b`, of the shape of `out`, in the memory of `out`; a compiler does not take `mul(out=)` in every layout."""
    return out.copy_(a * b) if torch.compiler.is_compiling() else torch.mul(a, b, out=out)


def clamp_backward(grad: Tensor, x: Tensor, low: float, high: float, out: Tensor) -> Tensor:
    """`grad` where `x`, clamped or not yet, lies between the limits, else 0; written into `out`, which may be `x`."""
    if torch.compiler.is_compiling():
        return out.copy_(hardtanh_backward(grad, x, low, high))
    held: Tensor = _hardtanh_backward_out(grad, x, low, high, grad_input=out)
    return held
