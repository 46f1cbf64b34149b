"""How far the conductance that a device reaches lies from the one that was asked for.

Gaussian programming error, `G = max(G_target + sigma_S(G_target) * z, 0)` with `z ~ N(0, 1)`, independent for each
device. The spread is either the same for all states, `sigma_S = sigma_rel * (g_max_S - g_min_S)`, or a polynomial of
the state, `sigma_S = sum_k c_k (G / G_ref)^k`, the form in which measured spreads are usually published (Wan et al.
2022; Milo et al. 2021). Limits: no correlation between devices, no tails beyond the Gaussian ones. A memristor is
passive, so its conductance cannot be negative: the Gaussian is cut off at zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hrat.spec import HardwareSpec

__all__ = ["achieved_conductance", "clipping_is_possible", "sigma_S"]

# Beyond this many standard deviations a Gaussian has less than 1e-9 of its weight on one side.
NEGLIGIBLE_SIGMAS = 6.0


def sigma_S(target_S: Tensor, spec: HardwareSpec) -> Tensor | float:
    """Standard deviation of the conductance reached, in siemens, for each target.

    Args:
        target_S: target conductances, any shape, S.
        spec: names the spread, `programming.sigma_rel` or `programming.sigma_poly_S`; zero where
            `programming.limit_error` is off.

    Returns:
        A float where the spread is the same for all states, else a tensor of the shape of `target_S`; never negative.
    """
    programming = spec.programming
    if not programming.limit_error:
        return 0.0
    if programming.sigma_rel is not None:
        return programming.sigma_rel * spec.device.g_range_S
    assert programming.sigma_poly_S is not None  # checked by the spec
    assert programming.sigma_poly_ref_S is not None
    x = target_S / programming.sigma_poly_ref_S
    spread = torch.zeros_like(target_S)
    for coefficient in reversed(programming.sigma_poly_S):  # Horner's scheme
        spread = spread * x + coefficient
    # A polynomial fitted to a window may dip below zero just outside it.
    return spread.clamp(min=0.0)


def achieved_conductance(
    target_S: Tensor, spec: HardwareSpec, *, generator: torch.Generator | None = None, strength: Tensor | float = 1.0
) -> Tensor:
    """Draw the conductance that each device ends at, in siemens.

    Args:
        target_S: target conductances, any shape, S.
        spec: the hardware.
        generator: source of the random numbers; torch's default one where none is given.
        strength: factor on the standard deviation (a training schedule may begin with less than the full error).

    Returns:
        Tensor of the shape of `target_S`, S, nowhere negative.
    """
    if not spec.programming.limit_error:
        return target_S
    z = standard_normal(target_S, generator)
    return (target_S + strength * sigma_S(target_S, spec) * z).clamp(min=0.0)


def standard_normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers of the shape, type and place of `like`, drawn where the generator lives."""
    if generator is None:
        return torch.randn_like(like)
    drawn = torch.randn(like.shape, dtype=like.dtype, device=generator.device, generator=generator)
    return drawn.to(like.device)


def clipping_is_possible(spec: HardwareSpec) -> bool:
    """Whether the cut-off at zero conductance touches more than 1e-9 of the devices in any state.

    Where it does not, the error of a differential pair is itself Gaussian and needs one draw instead of two.
    """
    if not spec.programming.limit_error:
        return False
    # Plain numbers, not tensors: torch.compile can then decide it while it traces.
    low_S, high_S = spec.device.states_S[0], spec.device.states_S[-1]
    states_S = [low_S + (high_S - low_S) * k / 256 for k in range(257)]
    return any(g_S < NEGLIGIBLE_SIGMAS * _sigma_of(g_S, spec) for g_S in states_S)


def _sigma_of(g_S: float, spec: HardwareSpec) -> float:
    """`sigma_S` of one conductance."""
    programming = spec.programming
    if programming.sigma_rel is not None:
        return programming.sigma_rel * spec.device.g_range_S
    assert programming.sigma_poly_S is not None  # checked by the spec
    assert programming.sigma_poly_ref_S is not None
    x = g_S / programming.sigma_poly_ref_S
    return max(0.0, sum(c * x**k for k, c in enumerate(programming.sigma_poly_S)))
