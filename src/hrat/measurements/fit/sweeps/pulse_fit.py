"""Fit of the pulse model to steps: step sizes, nonlinearity, and spreads over cycles and devices.

With x the position in the window (0 where the sweep begins, 1 where it ends, for set and reset alike), soft bounds say

    x(k+1) - x(k) = s (1 - rho x(k)) (1 + cycle spread),      s = s_0 exp(device spread)
    rho = 1 - exp(-nonlinearity),      n_pulses = log(1 - rho) / log(1 - s_0 rho)

(`hrat.physics.pulses.soft_bounds`; rho = 0 are equal steps). Noise from cycle to cycle adds up along a sweep, so that
the points of one curve lie all on the same side of the model: the fit is to the steps, whose noise is independent.

* A reading's noise is in the step before it and the one behind it. Regressed on the reading itself, steps would seem
  to shrink faster than they do. x(k) is therefore taken as predicted from the reading before.
* Each device has its own s, for any rho the best one in closed form (variable projection): the optimiser seeks rho.
  Weights are the inverse variances of the model, found in turns with the fit.
* Steps that may have been cut off by the end of the window are left out, judged by where they begin.
* The error of rho is the larger one of that from the residuals and that from the scatter over devices (or sweeps).
* The spread over devices is a random effect: that of log s, less the errors of the single estimates.

Limits: one amplitude and width for a direction; no trend over cycles; devices differ in s, not in rho nor in the ends
of their windows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from hrat.measurements.fit.statistics import spread_between
from hrat.measurements.fit.sweeps.direction import DirectionFit
from hrat.measurements.fit.sweeps.step_fit import Spreads, StepFit
from hrat.measurements.fit.sweeps.step_noise import SpreadEstimate, find_spreads
from hrat.measurements.fit.sweeps.steps import Steps
from hrat.measurements.fit.sweeps.window import Window

__all__ = ["PulseFit", "fit_pulses"]

ROUNDS = 8
"""Largest number of rounds of fit and weights in turns."""

SETTLED = 1e-4
"""Change of the figures from one round to the next, below which no further one is made."""

WIDEST = 2.0
"""Largest relative spread of steps in the weights, so that first rounds cannot run away."""


@dataclass(frozen=True)
class PulseFit:
    """Fit of the pulse model to the directions that were measured."""

    directions: dict[bool, DirectionFit]
    """Fit of each direction (true: set)."""
    cycle_rel: float
    """Spread from cycle to cycle relative to the step."""
    cycle_rel_error: float
    cycle_S: float
    """Part of that spread that is equal for all steps, S."""
    cycle_error_S: float
    device_rel: float | None
    """Spread over devices of the logarithm of the step; None where one device alone was measured."""
    device_rel_error: float
    read_rel: float
    """Relative noise of a single reading."""
    read_rel_error: float


def fit_pulses(
    sweeps: dict[bool, Steps], window: Window, *, linear: bool, read: tuple[float, float] | None, n_reads: float = 1.0
) -> PulseFit:
    """Fit the steps of one or both directions.

    Args:
        sweeps: steps by direction (true: set).
        window: the ends of the window.
        linear: equal steps, rho = 0.
        read: relative noise of a single reading and its error, where it was measured; else it is found from how
            neighbouring steps go together.
        n_reads: readings that were averaged into one.
    """
    problems = {up: StepFit(steps, window, up) for up, steps in sweeps.items()}
    noise = _fit_in_turns(list(problems.values()), linear, None if read is None else read[0] / math.sqrt(n_reads))
    directions = {up: problem.result() for up, problem in problems.items()}
    groups = [(part.device_log_steps, part.device_errors) for part in directions.values()]
    several = any(len(values) > 1 for values, _ in groups)
    device_rel, device_error, means = spread_between(groups)
    for up, (mean, error) in zip(list(directions), means, strict=True):
        directions[up] = replace(directions[up], log_step=mean, log_step_error=error)
    return PulseFit(
        directions=directions,
        cycle_rel=noise.spreads.cycle_rel,
        cycle_rel_error=noise.cycle_rel_error,
        cycle_S=noise.spreads.cycle * window.width_S,
        cycle_error_S=noise.cycle_error * window.width_S,
        device_rel=device_rel if several else None,
        device_rel_error=device_error,
        read_rel=read[0] if read else noise.spreads.read_rel,
        read_rel_error=read[1] if read else noise.read_error,
    )


def _fit_in_turns(problems: list[StepFit], linear: bool, read_rel: float | None) -> SpreadEstimate:
    """Fit steps and their noise in turns until neither changes.

    Args:
        problems: one for each direction; keep what was fitted.
        linear: equal steps.
        read_rel: relative noise of a reading, or of the mean of several; None: to be found.
    """
    spreads = Spreads(read_rel=read_rel or 0.0)
    for _ in range(ROUNDS):
        before = [(problem.rho, *problem.step) for problem in problems]
        for problem in problems:
            problem.fit(spreads, linear)
        estimate = find_spreads(problems, spreads, read_known=read_rel is not None)
        spreads = replace(estimate.spreads, cycle_rel=min(estimate.spreads.cycle_rel, WIDEST))
        after = [(problem.rho, *problem.step) for problem in problems]
        if all(np.allclose(old, new, rtol=SETTLED, atol=SETTLED) for old, new in zip(before, after, strict=True)):
            break
    return estimate
