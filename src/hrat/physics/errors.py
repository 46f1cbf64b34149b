"""Programming errors: distance of the conductance that a device reaches from its target.

Gaussian programming error, `G = max(G_target + sigma_S(G_target) * z, 0)` with `z ~ N(0, 1)`, independent for each
device. The spread is either the same for all states, `sigma_S = sigma_rel * (g_max_S - g_min_S)`, or a polynomial of
the state, `sigma_S = sum_k c_k (G / G_ref)^k`, the form in which measured spreads are usually published (Wan et al.
2022; Milo et al. 2021). Limits: no correlation between devices, no tails beyond the Gaussian ones. A memristor is
passive, so its conductance cannot be negative: the Gaussian is cut off at zero.

Table, `G = quantile(G_target, u)` with `u ~ U(0, 1)`: the distribution that a programming scheme leaves at each target,
`programming.table_S`, as `hrat.programming.characterise` finds it: shifted means, skewed spreads, tails of failures.
Between two targets the distance from the target is interpolated, between two quantiles the conductance.
With `programming.aim = "mean"` programming asks for another conductance than the target: that which, by the table, ends
at the target on average (`aim_S`).

On top of either, some devices may be stuck (`hrat.physics.faults`).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from hrat.physics.faults import has_stuck_devices, stuck_devices
from hrat.physics.spread import spread_S
from hrat.spec import TABLE_PROBABILITIES, Device, Faults, Programming

__all__ = [
    "achieved_conductance",
    "aim_S",
    "clipping_is_possible",
    "expected_S",
    "has_error",
    "missed_target",
    "pair_error_is_gaussian",
    "sigma_S",
]

TABLE_CELLS = 2048
"""Evenly spaced probabilities to which a table's quantiles are spread, so that a draw needs no search."""

# Beyond this many standard deviations a Gaussian has less than 1e-9 of its weight on one side.
NEGLIGIBLE_SIGMAS = 6.0

NORMAL_BLOCK = 2**17
"""Numbers that one thread draws at a time, half a millisecond's worth."""
FEWEST_BLOCKS = 4
"""With fewer, starting threads costs more than they save."""


def sigma_S(target_S: Tensor, device: Device, programming: Programming) -> Tensor | float:
    """Standard deviation of the conductance reached, in siemens, for each target.

    Args:
        target_S: target conductances, any shape, S.
        device: names the window, which `programming.sigma_rel` is relative to.
        programming: names the spread, `sigma_rel`, `sigma_poly_S` or `table_S`; zero where `limit_error` is off. Stuck
            devices are not in it.

    Returns:
        A float where the spread is the same for all states, else a tensor of the shape of `target_S`; never negative.
    """
    if not programming.limit_error:
        return 0.0
    if programming.sigma_rel is not None:
        return programming.sigma_rel * device.g_range_S
    if programming.table_S is not None:
        targets, deviations = _table(programming, target_S.dtype, target_S.device)
        row, within = _rows(aim_S(target_S, programming), targets)
        spread = deviations.std(1, correction=0)
        return torch.lerp(spread[row], spread[row + 1], within)
    assert programming.sigma_poly_S is not None  # checked by the spec
    assert programming.sigma_poly_ref_S is not None
    return spread_S(target_S, programming.sigma_poly_ref_S, programming.sigma_poly_S)


def aim_S(target_S: Tensor, programming: Programming) -> Tensor:
    """The conductance that programming asks for in place of the target, S, any shape.

    The target itself, unless `programming.aim` is "mean": then the one whose mean outcome, by the table, is the target.
    Targets that no device reaches on average get the nearest end of the table.
    """
    if programming.aim == "target" or programming.table_S is None or not programming.limit_error:
        return target_S
    targets, means = _means(programming, target_S.dtype, target_S.device)
    after = torch.searchsorted(means, target_S.contiguous()).clamp_(1, len(means) - 1)
    low, high = means[after - 1], means[after]
    # Where several targets end at the same mean, the lowest of them.
    part = ((target_S - low) / (high - low).clamp(min=torch.finfo(target_S.dtype).tiny)).clamp_(0.0, 1.0)
    return torch.lerp(targets[after - 1], targets[after], part)


def expected_S(target_S: Tensor, programming: Programming) -> Tensor:
    """Mean of the conductance reached for each target, any shape, S; for the Gaussian, without cut-off, the target."""
    if not programming.limit_error or programming.table_S is None:
        return target_S
    targets, means = _means(programming, target_S.dtype, target_S.device, rising=False)
    asked_S = aim_S(target_S, programming)
    row, within = _rows(asked_S, targets)
    shift = means - targets
    return asked_S + torch.lerp(shift[row], shift[row + 1], within)


def achieved_conductance(
    target_S: Tensor,
    device: Device,
    programming: Programming,
    faults: Faults,
    *,
    generator: torch.Generator | None = None,
    strength: Tensor | float = 1.0,
) -> Tensor:
    """Draw the conductance that each device ends at, in siemens.

    Args:
        target_S: target conductances, any shape, S.
        device: the memristor.
        programming: how far it misses its target.
        faults: the shares of stuck devices.
        generator: source of the random numbers; torch's default one where none is given.
        strength: factor on the error and on the share of stuck devices (a training schedule may begin with less than
            all of it).

    Returns:
        Tensor of the shape of `target_S`, S, nowhere negative.
    """
    achieved_S = missed_target(target_S, device, programming, generator=generator, strength=strength)
    if has_stuck_devices(faults):
        stuck, stuck_S = stuck_devices(target_S, device, faults, generator=generator, strength=strength)
        achieved_S = torch.where(stuck, stuck_S, achieved_S)
    return achieved_S


def missed_target(
    target_S: Tensor,
    device: Device,
    programming: Programming,
    *,
    generator: torch.Generator | None = None,
    strength: Tensor | float = 1.0,
) -> Tensor:
    """Draw the conductance that each device ends at, for devices that are not stuck, S, any shape."""
    if not programming.limit_error:
        return target_S
    if programming.table_S is not None:
        asked_S = aim_S(target_S, programming)
        deviation_S = _draw_from_table(asked_S, programming, generator)
        if asked_S is not target_S:
            deviation_S.add_(asked_S).sub_(target_S)
    else:
        deviation_S = standard_normal(torch.empty_like(target_S), generator).mul_(
            sigma_S(target_S, device, programming)
        )
    return deviation_S.mul_(strength).add_(target_S).clamp_(min=0.0)


def has_error(programming: Programming, faults: Faults) -> bool:
    """Whether any device can miss its target."""
    return programming.limit_error or has_stuck_devices(faults)


def pair_error_is_gaussian(device: Device, programming: Programming, faults: Faults) -> bool:
    """Whether the error of `G+ - G-` is Gaussian, so that one draw does for the two devices of a pair."""
    return (
        programming.table_S is None and not has_stuck_devices(faults) and not clipping_is_possible(device, programming)
    )


def _draw_from_table(target_S: Tensor, programming: Programming, generator: torch.Generator | None) -> Tensor:
    """Distance from the target, drawn by the inverse of its distribution."""
    targets, deviations = _table(programming, target_S.dtype, target_S.device)
    row, within = _rows(target_S, targets)
    place = target_S.device if generator is None else generator.device
    u = torch.rand(target_S.shape, dtype=target_S.dtype, device=place, generator=generator).to(target_S.device)
    u = u.mul_(TABLE_CELLS)
    # The largest number below one may round to one.
    cell = u.long().clamp_(max=TABLE_CELLS - 1)
    u.sub_(cell)
    flat, width = deviations.view(-1), TABLE_CELLS + 1
    first = row.mul_(width).add_(cell)
    lower = torch.lerp(flat[first], flat[first + 1], u)
    upper = torch.lerp(flat[first + width], flat[first + width + 1], u)
    return torch.lerp(lower, upper, within)


def standard_normal(out: Tensor, generator: torch.Generator | None) -> Tensor:
    """Fill `out`, any shape, with standard normal numbers, drawn on the generator's device.

    torch draws on one core only. What is large is therefore cut into blocks, each with a generator of its own that is
    seeded from the given one, and the blocks are shared among torch's threads: the numbers do not depend on how many
    threads there are.
    """
    if generator is not None and generator.device != out.device:
        drawn = torch.empty(out.shape, dtype=out.dtype, device=generator.device)
        return out.copy_(standard_normal(drawn, generator))
    in_blocks = out.device.type == "cpu" and out.numel() >= FEWEST_BLOCKS * NORMAL_BLOCK and out.is_contiguous()
    if not in_blocks:
        return out.normal_(generator=generator)
    if torch.compiler.is_compiling() and generator is None:
        _standard_normal(out)  # threads are nothing that a compiler can follow
        return out
    blocks = out.view(-1).split(NORMAL_BLOCK)
    seeds = torch.randint(torch.iinfo(torch.int64).max, (len(blocks),), generator=generator).tolist()

    def draw(block: Tensor, seed: int) -> None:
        block.normal_(generator=torch.Generator().manual_seed(seed))

    # Threads that live for one call only: a pool would not survive a fork.
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        list(threads.map(draw, blocks, seeds))
    return out


@torch.library.custom_op("hrat::standard_normal", mutates_args=("out",))
def _standard_normal(out: Tensor) -> None:
    """`standard_normal` as one operation of a compiled graph."""
    standard_normal(out, None)


def clipping_is_possible(device: Device, programming: Programming) -> bool:
    """Whether the cut-off at zero conductance touches more than 1e-9 of the devices in any state.

    Where it does not, the error of a differential pair is itself Gaussian and needs one draw instead of two.
    """
    if not programming.limit_error or programming.table_S is not None:
        return False
    # Plain numbers, not tensors: torch.compile can then decide it while it traces.
    levels_S = device.levels_S if device.limit_states else None
    low_S, high_S = (device.g_min_S, device.g_max_S) if levels_S is None else (levels_S[0], levels_S[-1])
    if programming.sigma_rel is not None:
        return low_S < NEGLIGIBLE_SIGMAS * programming.sigma_rel * device.g_range_S
    assert programming.sigma_poly_S is not None  # checked by the spec
    assert programming.sigma_poly_ref_S is not None
    return _polynomial_reaches_zero(low_S, high_S, programming.sigma_poly_S, programming.sigma_poly_ref_S)


def _rows(target_S: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The row of the table below each target, and how far the target is on the way to the next one, 0 to 1."""
    row = torch.bucketize(target_S, targets).sub_(1).clamp_(0, len(targets) - 2)
    low, high = targets[row], targets[row + 1]
    return row, ((target_S - low) / (high - low)).clamp_(0.0, 1.0)


@lru_cache(maxsize=16)
def _table_values(
    targets_S: tuple[float, ...], table_S: tuple[tuple[float, ...], ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    # In double precision, and rounded at the end: deviations are small beside the conductances.
    probabilities = np.linspace(0.0, 1.0, TABLE_CELLS + 1)
    rows = [
        np.interp(probabilities, TABLE_PROBABILITIES, row) - target
        for target, row in zip(targets_S, table_S, strict=True)
    ]
    targets = torch.tensor(targets_S, dtype=dtype, device=device)
    return targets, torch.tensor(np.stack(rows), dtype=dtype, device=device)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # nothing to trace in it
def _table(programming: Programming, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Targets `(n,)`, and the distances from them at evenly spaced probabilities, `(n, TABLE_CELLS + 1)`, S."""
    assert programming.table_targets_S is not None  # checked by the spec
    assert programming.table_S is not None
    return _table_values(programming.table_targets_S, programming.table_S, dtype, device)


def _means(
    programming: Programming, dtype: torch.dtype, device: torch.device, *, rising: bool = True
) -> tuple[Tensor, Tensor]:
    """Targets of the table and the mean of each row, S; made to rise with the target where asked to."""
    targets, deviations = _table(programming, dtype, device)
    # Draws are uniform between neighbouring probabilities: the trapezoidal rule is exact.
    ends = (deviations[:, 0] + deviations[:, -1]) / 2
    means = targets + (deviations[:, 1:-1].sum(1) + ends) / TABLE_CELLS
    return targets, means.cummax(0).values if rising else means


@lru_cache(maxsize=64)
def _polynomial_reaches_zero(low_S: float, high_S: float, coefficients_S: tuple[float, ...], ref_S: float) -> bool:
    for k in range(257):
        g_S = low_S + (high_S - low_S) * k / 256
        spread_S = sum(c * (g_S / ref_S) ** power for power, c in enumerate(coefficients_S))
        if g_S < NEGLIGIBLE_SIGMAS * spread_S:
            return True
    return False
