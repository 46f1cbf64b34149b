"""Steps that shrink towards the ends of the window, and equal steps: pulses as phenomenology.

A sweep of set pulses takes a device along an exponential (the form that NeuroSim fits to potentiation; P.-Y. Chen,
X. Peng, S. Yu, IEEE TCAD 37, 3067, 2018),

    x(n) = (1 - exp(-nu n / N)) / (1 - exp(-nu)),      x = (G - g_min) / (g_max - g_min),

from x = 0 to x = 1 in `N` pulses, and reset pulses take it down the mirror image. Written for one pulse this has no
memory of n: each one goes a fixed part of the way to an asymptote beyond the window,

    x -> x + rate (end - x),      rate = 1 - exp(-nu / N),      end = 1 / (1 - exp(-nu)).

`nu`, the nonlinearity, is the logarithm of the first step over the last. With nu -> 0 all steps are 1 / N, the linear
device; with large nu the end lies at the bound itself, which is the soft-bounds device of aihwkit (Gong et al. 2018). A
pulse that is k times as strong counts as k pulses; how k grows with the amplitude is `exp(dV / efold_V)`.

Limits: no thresholds, no dependence on the width of a pulse, no history beyond the conductance itself.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["after_pulses_S", "asymptote_and_rate"]

SMALLEST_NONLINEARITY = 1e-6
"""Below this the exponential is taken as straight, which it is to a relative 1e-6."""


def asymptote_and_rate(n_pulses: float, nonlinearity: float, strength: float = 1.0) -> tuple[float, float]:
    """`(end, rate)` of one pulse, in units of the window.

    Args:
        n_pulses: pulses from one end of the window to the other.
        nonlinearity: nu, at least 0.
        strength: how many ordinary pulses this one is worth.
    """
    nu = max(nonlinearity, SMALLEST_NONLINEARITY)
    return -1.0 / math.expm1(-nu), -math.expm1(-nu * strength / n_pulses)


def after_pulses_S(
    g_S: Tensor,
    count: Tensor | float,
    *,
    g_min_S: float,
    g_max_S: float,
    n_pulses: Tensor,
    nonlinearity: Tensor,
    up: bool,
) -> Tensor:
    """Conductance after `count` equal pulses without variation, in siemens; differentiable in all tensors.

    Args:
        g_S: conductance before, any shape, S.
        count: pulses, broadcast against `g_S`.
        g_min_S: lower end of the window, S.
        g_max_S: upper end, S.
        n_pulses: pulses from one end to the other.
        nonlinearity: nu, above 0.
        up: set pulses, else reset pulses.
    """
    width_S = g_max_S - g_min_S
    x = (g_S - g_min_S) / width_S if up else (g_max_S - g_S) / width_S
    end = -1.0 / torch.expm1(-nonlinearity)
    # By expm1, since for a small nonlinearity the end is far away and the rate small.
    moved = torch.clamp(x + (x - end) * torch.expm1(-nonlinearity * count / n_pulses), max=1.0)
    return g_min_S + width_S * moved if up else g_max_S - width_S * moved
