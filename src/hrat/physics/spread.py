"""A spread as published: `sigma(G) = sum_k c_k (G / ref)^k`, of programming and of relaxation alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["spread_S"]


def spread_S(g_S: Tensor, ref_S: float, coefficients_S: Sequence[float]) -> Tensor:
    """The standard deviation at each conductance, of the shape of `g_S`, S.

    Never negative: a polynomial fitted to a window may dip below zero just outside it.
    """
    x = g_S / ref_S
    value = torch.zeros_like(g_S)
    for coefficient in reversed(coefficients_S):  # Horner's scheme
        value = value * x + coefficient
    return value.clamp(min=0.0)
