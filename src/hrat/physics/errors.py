"""How far the conductance that a device reaches lies from the one that was asked for.

Gaussian programming error, `G = max(G_target + sigma_S(G_target) * z, 0)` with `z ~ N(0, 1)`, independent for each
device. The spread is either the same for all states, `sigma_S = sigma_rel * (g_max_S - g_min_S)`, or a polynomial of
the state, `sigma_S = sum_k c_k (G / G_ref)^k`, the form in which measured spreads are usually published (Wan et al.
2022; Milo et al. 2021). Limits: no correlation between devices, no tails beyond the Gaussian ones. A memristor is
passive, so its conductance cannot be negative: the Gaussian is cut off at zero.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch
from torch import Tensor

from hrat.spec import HardwareSpec

__all__ = ["achieved_conductance", "clipping_is_possible", "sigma_S"]

# Beyond this many standard deviations a Gaussian has less than 1e-9 of its weight on one side.
NEGLIGIBLE_SIGMAS = 6.0

NORMAL_BLOCK = 2**17
"""Numbers that one thread draws at a time, half a millisecond's worth."""
FEWEST_BLOCKS = 4
"""With fewer, starting threads costs more than they save."""


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
    z = standard_normal(torch.empty_like(target_S), generator)
    return z.mul_(strength * sigma_S(target_S, spec)).add_(target_S).clamp_(min=0.0)


def standard_normal(out: Tensor, generator: torch.Generator | None) -> Tensor:
    """Fill `out` with standard normal numbers, drawn where the generator lives.

    torch draws on one core only. What is large is therefore cut into blocks, each with a generator of its own that is
    seeded from the given one, and the blocks are shared among torch's threads: the numbers do not depend on how many
    threads there are.
    """
    if generator is not None and generator.device != out.device:
        drawn = torch.empty(out.shape, dtype=out.dtype, device=generator.device)
        return out.copy_(standard_normal(drawn, generator))
    in_blocks = out.device.type == "cpu" and out.numel() >= FEWEST_BLOCKS * NORMAL_BLOCK and out.is_contiguous()
    if not in_blocks or torch.compiler.is_compiling():
        return out.normal_(generator=generator)
    blocks = out.view(-1).split(NORMAL_BLOCK)
    seeds = torch.randint(torch.iinfo(torch.int64).max, (len(blocks),), generator=generator).tolist()

    def draw(block: Tensor, seed: int) -> None:
        block.normal_(generator=torch.Generator().manual_seed(seed))

    # Threads that live for one call only: a pool would not survive a fork.
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        list(threads.map(draw, blocks, seeds))
    return out


def clipping_is_possible(spec: HardwareSpec) -> bool:
    """Whether the cut-off at zero conductance touches more than 1e-9 of the devices in any state.

    Where it does not, the error of a differential pair is itself Gaussian and needs one draw instead of two.
    """
    if not spec.programming.limit_error:
        return False
    # Plain numbers, not tensors: torch.compile can then decide it while it traces.
    device, programming = spec.device, spec.programming
    levels_S = device.levels_S if device.limit_states else None
    low_S, high_S = (device.g_min_S, device.g_max_S) if levels_S is None else (levels_S[0], levels_S[-1])
    if programming.sigma_rel is not None:
        return low_S < NEGLIGIBLE_SIGMAS * programming.sigma_rel * device.g_range_S
    assert programming.sigma_poly_S is not None  # checked by the spec
    assert programming.sigma_poly_ref_S is not None
    return _polynomial_reaches_zero(low_S, high_S, programming.sigma_poly_S, programming.sigma_poly_ref_S)


@lru_cache(maxsize=64)
def _polynomial_reaches_zero(low_S: float, high_S: float, coefficients_S: tuple[float, ...], ref_S: float) -> bool:
    for k in range(257):
        g_S = low_S + (high_S - low_S) * k / 256
        spread_S = sum(c * (g_S / ref_S) ** power for power, c in enumerate(coefficients_S))
        if g_S < NEGLIGIBLE_SIGMAS * spread_S:
            return True
    return False
