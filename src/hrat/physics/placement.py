"""Placement of a device's conductance states such that neighbours are equally easy to distinguish.

A device that is asked for `t` ends at `m(t)` on average, with a standard deviation of `s(t)`. A threshold between two
states errs equally often on either side where it lies as many deviations from the one as from the other; that is

    d = (m_2 - m_1) / (s_1 + s_2)

deviations, and the error probability of two Gaussians is Q(d). States that are evenly spaced waste room where the
device programs well, and overlap where it programs badly. Placed states have the same `d` between all neighbours, the
largest that lets `n` of them fit between the lowest and the highest mean that the device reaches: asked for the end of
its window, it may end inside it. The rule is that of multi-level memory cells.

Limits: equal is the distance in deviations, not what an error of a state costs a network. A network that has most of
its weights near zero may be better off with states that are dense there. Where the error is the same in all states, the
rule gives evenly spaced ones.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from hrat.errors import SpecError
from hrat.physics.errors import expected_S, sigma_S
from hrat.spec import Device, Programming

__all__ = ["place_levels"]

SAMPLES = 4001
"""Targets among which states are looked for; between two of them all is taken as linear."""
HALVINGS = 60
CHANCE = 0.1
"""Rise of the means over the window, in standard deviations, below which they are taken as all the same."""


def place_levels(device: Device, programming: Programming, n: int) -> tuple[float, ...]:
    """`n` states, ascending, S, for `device.levels_S`: neighbours are equally many standard deviations apart.

        spec = spec.replace({"device.levels_S": place_levels(spec.device, spec.programming, 16)})

    With the table of a programming scheme the states are means: where these lie off the targets, let
    `programming.aim = "mean"` ask for the targets that end at the states.

    Args:
        device: names the window.
        programming: names the error: `sigma_rel`, `sigma_poly_S`, or the table.
        n: how many, 2 at least.

    Raises:
        SpecError: there is no programming error to place by, or devices end at one place whatever the target.
    """
    if n < 2:
        raise SpecError(f"place_levels: expected 2 states or more, got {n}")
    plain = programming.model_copy(update={"aim": "target"})
    target_S = torch.linspace(device.g_min_S, device.g_max_S, SAMPLES, dtype=torch.float64)
    mean_S = expected_S(target_S, plain).clamp(device.g_min_S, device.g_max_S).cummax(0).values
    spread_S = _spread_S(target_S, device, plain)
    if not bool((spread_S > 0).any()):
        raise SpecError(
            "place_levels: the spec has no programming error in the window (programming.limit_error off, or a spread "
            "of zero), so that there is nothing to place by; take evenly spaced states (weight_bits)"
        )
    # The means of a table are those of some thousands of devices: a rise by chance is no rise.
    if float(mean_S[-1] - mean_S[0]) <= CHANCE * float(spread_S.max()):
        raise SpecError(
            f"place_levels: whatever the target, devices end at {float(mean_S[0]):g} S on average; is the budget of "
            "pulses (programming.max_pulses) too small?"
        )
    low, high = 0.0, float((mean_S[-1] - mean_S[0]) / spread_S[spread_S > 0].min())
    best = _ladder(mean_S, spread_S, low, n)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        tried = _ladder(mean_S, spread_S, middle, n)
        if tried is None:
            high = middle
        else:
            low, best = middle, tried
    if best is None or any(b <= a for a, b in pairwise(best)):
        raise SpecError(f"place_levels: {n} states do not fit into the conductances that devices reach; take fewer")
    return tuple(best)


def _spread_S(target_S: Tensor, device: Device, programming: Programming) -> Tensor:
    """Standard deviation at each sample; of a table, between two of its targets the larger one.

    A table has few targets, and a device that starts at the end of its window has no spread there: on a line from this
    zero to the next target all states would crowd.
    """
    if programming.table_targets_S is None:
        return torch.as_tensor(sigma_S(target_S, device, programming), dtype=torch.float64).expand(SAMPLES)
    rows_S = torch.tensor(programming.table_targets_S, dtype=torch.float64)
    of_rows_S = torch.as_tensor(sigma_S(rows_S, device, programming))
    row = torch.searchsorted(rows_S, target_S).clamp(1, len(rows_S) - 1)
    spread_S = torch.maximum(of_rows_S[row - 1], of_rows_S[row])
    spread_S[0], spread_S[-1] = (
        float(torch.as_tensor(sigma_S(end, device, programming))) for end in target_S[[0, -1]].split(1)
    )
    return spread_S


def _ladder(mean_S: Tensor, spread_S: Tensor, distance: float, n: int) -> list[float] | None:
    """States from the lowest mean up, each the given number of deviations above the last; None if they do not fit."""
    # State k + 1 is the first one with m - d s >= m_k + d s_k.
    clear_S = (mean_S - distance * spread_S).cummax(0).values
    levels_S, spread = [float(mean_S[0])], float(spread_S[0])
    for _ in range(n - 1):
        floor_S = levels_S[-1] + distance * spread
        after = int(torch.searchsorted(clear_S, floor_S, right=True))
        if after >= SAMPLES:
            return None
        before = max(after - 1, 0)
        rise = float(clear_S[after] - clear_S[before])
        part = (floor_S - float(clear_S[before])) / rise if rise > 0 else 1.0
        levels_S.append(float(torch.lerp(mean_S[before], mean_S[after], part)))
        spread = float(torch.lerp(spread_S[before], spread_S[after], part))
    # What bisection has left of the way to the end; not where the spread there is too large.
    if float(mean_S[-1]) >= floor_S + distance * float(spread_S[-1]):
        levels_S[-1] = float(mean_S[-1])
    return levels_S
