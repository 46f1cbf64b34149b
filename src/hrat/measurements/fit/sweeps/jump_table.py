"""Table of measured changes from steps: quantiles of the change by one pulse, at some conductances.

No model of the device is in it: whatever steps look like, they are drawn as they were measured, by devices that are all
alike (`device_spread_rel` is 0: how devices differ is in the quantiles). Noise of the readings is in them too, and
so is the end of the window, which cuts off the steps that begin near it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hrat.measurements.fit.sweeps.steps import Steps
from hrat.measurements.fit.sweeps.window import Window
from hrat.measurements.read import Floats

__all__ = ["JumpTable", "make_jump_table"]

MOST_KNOTS, FEWEST_KNOTS = 16, 3
"""Conductances of a table."""

FEWEST_STEPS = 20
"""Steps that each conductance needs in each direction."""

PROBABILITIES = np.linspace(0.0, 1.0, 21)
"""Quantiles of the table."""


@dataclass(frozen=True)
class JumpTable:
    """A table of measured changes, as in `hrat.spec.JumpTable`."""

    g_S: tuple[float, ...]
    set_S: tuple[tuple[float, ...], ...]
    reset_S: tuple[tuple[float, ...], ...]
    mean_S: dict[bool, tuple[float, ...]]
    """Mean change at each conductance by direction (true: set), S."""
    mean_error_S: dict[bool, tuple[float, ...]]
    n_steps: int


def make_jump_table(sweeps: dict[bool, Steps], window: Window) -> JumpTable | None:
    """Make the table; None where a direction is missing, or too few conductances have steps enough."""
    if len(sweeps) < 2:
        return None
    for n_knots in range(MOST_KNOTS, FEWEST_KNOTS - 1, -1):
        knots = np.linspace(window.low_S, window.high_S, n_knots)
        changes = {up: _by_knot(steps, knots) for up, steps in sweeps.items()}
        full = [k for k in range(n_knots) if all(len(parts[k]) >= FEWEST_STEPS for parts in changes.values())]
        # The inner parts must be there; where one end was never the start of a step, the table ends before it.
        if len(full) >= max(FEWEST_KNOTS, n_knots - 2) and full == list(range(full[0], full[-1] + 1)):
            return _table(knots[full], {up: [parts[k] for k in full] for up, parts in changes.items()})
    return None


def _by_knot(steps: Steps, knots: Floats) -> list[Floats]:
    """The changes that began nearest to each knot."""
    middles = (knots[1:] + knots[:-1]) / 2
    nearest = np.searchsorted(middles, steps.before_S)
    order = np.argsort(nearest, kind="stable")
    change = (steps.after_S - steps.before_S)[order]
    return np.split(change, np.searchsorted(nearest[order], np.arange(1, len(knots))))


def _table(knots: Floats, changes: dict[bool, list[Floats]]) -> JumpTable:
    def rows(up: bool) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(np.quantile(part, PROBABILITIES).tolist()) for part in changes[up])

    return JumpTable(
        tuple(knots.tolist()),
        rows(True),
        rows(False),
        {up: tuple(float(part.mean()) for part in parts) for up, parts in changes.items()},
        {up: tuple(float(part.std() / len(part) ** 0.5) for part in parts) for up, parts in changes.items()},
        sum(len(part) for parts in changes.values() for part in parts),
    )
