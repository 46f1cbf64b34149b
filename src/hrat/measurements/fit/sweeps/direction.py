"""The pulse model of one direction in the coordinates of the fit, in which the window runs from 0 to 1."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hrat.measurements.fit.statistics import sums_by
from hrat.measurements.fit.sweeps.steps import Steps
from hrat.measurements.fit.sweeps.window import Window
from hrat.measurements.read import Floats

__all__ = ["STEEPEST", "DirectionFit", "sweep_residuals"]

STEEPEST = 1 - math.exp(-8.0)
"""Largest rho: beyond a nonlinearity of 8 the end of the way lies within 0.03 % of the window's end."""


@dataclass(frozen=True)
class DirectionFit:
    """Fitted steps of one direction, set or reset."""

    up: bool
    rho: float
    rho_error: float
    log_step: float
    """Logarithm of s_0, the mean step at the beginning of the window."""
    log_step_error: float
    log_step_slope: float
    """Derivative of log s_0 by rho along the best fits."""
    device_log_steps: Floats
    device_errors: Floats
    n_steps: int
    """Number of steps that were fitted."""
    misfit_rel: float
    """Relative distance of mean steps from the model along the window, beyond their errors (rms)."""

    @property
    def nonlinearity(self) -> float:
        """`nonlinearity_set` or `nonlinearity_reset`."""
        return -math.log1p(-min(max(self.rho, 0.0), STEEPEST))

    def nonlinearity_error(self, width_error_rel: float) -> float:
        """Standard error of the nonlinearity."""
        rho = min(self.rho, STEEPEST)
        return math.hypot(self.rho_error, rho * width_error_rel) / (1 - rho)

    def n_pulses(self, rho: float | None = None, log_step: float | None = None) -> float:
        """Pulses from one end of the window to the other."""
        rho = min(max(self.rho if rho is None else rho, 0.0), STEEPEST)
        step = math.exp(self.log_step if log_step is None else log_step)
        if rho < 1e-9:
            return 1 / step
        return math.log1p(-rho) / math.log1p(-min(step * rho, 1 - 1e-12))

    def n_pulses_error(self, width_error_rel: float) -> float:
        """Standard error of `n_pulses`, by the slope of log N along both parameters."""
        n, h = math.log(self.n_pulses()), 1e-4
        by_step = (math.log(self.n_pulses(log_step=self.log_step + h)) - n) / h
        down = self.rho - h
        along = n - math.log(self.n_pulses(rho=down, log_step=self.log_step - h * self.log_step_slope))
        return self.n_pulses() * math.hypot(by_step * self.log_step_error, along / h * self.rho_error, width_error_rel)


def sweep_residuals(steps: Steps, window: Window, fit: DirectionFit, mean_factor: float = 1.0) -> tuple[Floats, Floats]:
    """Root mean square of data minus model, S, and R^2 for each sweep, the model starting where the data does.

    Args:
        steps: steps of one direction.
        window: the ends of the window.
        fit: fit of that direction.
        mean_factor: mean of a step that never works backwards, over the mean of the Gaussian behind it.
    """
    sweep, number = steps.sweep, steps.number
    s = np.exp(fit.device_log_steps)[steps.device] * mean_factor
    rho = min(max(fit.rho, 1e-9), STEEPEST)
    begin = window.position(steps.before_S, fit.up)[np.flatnonzero(number == 0)][sweep]
    end = 1 / rho
    model = np.minimum(end + (begin - end) * (1 - np.minimum(s * rho, 1.0)) ** (number + 1), 1.0)
    data = window.position(steps.after_S, fit.up)
    count = sums_by(sweep)
    error = sums_by(sweep, (data - model) ** 2)
    mean = sums_by(sweep, data) / count
    total = sums_by(sweep, (data - mean[sweep]) ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        r_squared = 1 - error / total
    return np.sqrt(error / count) * window.width_S, np.where(count > 2, r_squared, np.nan)
