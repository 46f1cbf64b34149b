"""A pulse of constant voltage as a map from the state before it to the state after it.

Under a constant voltage the state s of a memristor obeys ds/dt = speed(s), an equation that does not name the time. The
time from s to the end of the way is then an integral over the state alone, `T(s) = int ds / |speed|`, and a pulse of
width t takes s to where that time is t less. One table of T serves every start.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["interpolate", "state_after"]

CELLS = 20_000
"""Cells of the state's range over which the integral is taken."""


def state_after(speed: Callable[[Tensor], Tensor], start: Tensor, end: float, begin: float, width_s: float) -> Tensor:
    """States after a pulse.

    Args:
        speed: `ds/dt` at given states, all of the sign that leads from `begin` to `end`, or zero.
        start: states before the pulse, `(n,)`, float64, between `begin` and `end`.
        end: where the state stops.
        begin: the farthest state from there.
        width_s: width of the pulse, s.

    Returns:
        States after it, `(n,)`.
    """
    progress = torch.linspace(0.0, 1.0, CELLS + 1, dtype=torch.float64)
    states = begin + (end - begin) * progress
    middles = (states[1:] + states[:-1]) / 2
    tiny = torch.finfo(torch.float64).tiny
    times = (abs(end - begin) / CELLS) / speed(middles).abs().clamp(min=tiny)
    # A sum of large and small times loses the small ones. They are where the state is fast: begin to count there.
    if times[-1] < times[0]:
        to_end = torch.cat([times.flip(0).cumsum(0).flip(0), times.new_zeros(1)])
        clock = -to_end  # ascending along the way, 0 at the end
    else:
        clock = torch.cat([times.new_zeros(1), times.cumsum(0)])
    now = interpolate((start - begin) / (end - begin), progress, clock)
    return begin + (end - begin) * interpolate(now + width_s, clock, progress)


def interpolate(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Linear interpolation, constant beyond the ends; `knots` ascending, `(n,)`, as is `values`."""
    right = torch.searchsorted(knots, x).clamp(1, len(knots) - 1)
    low, high = knots[right - 1], knots[right]
    part = ((x - low) / (high - low).clamp(min=torch.finfo(x.dtype).tiny)).clamp(0.0, 1.0)
    return torch.lerp(values[right - 1], values[right], part)
