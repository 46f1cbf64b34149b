"""The pulse model in the coordinates of the fit: the way through the window, for one direction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hrat.measurements.reading import Floats
from hrat.measurements.statistics import sums_by
from hrat.measurements.sweeps import Steps

__all__ = ["STEEPEST", "DirectionFit", "Window", "sweep_residuals"]

STEEPEST = 1 - math.exp(-8.0)
"""Largest rho: beyond a nonlinearity of 8 the end of the way lies within 0.03 % of the window's end."""


@dataclass(frozen=True)
class Window:
    """The window of conductances, S, with the standard errors of its ends."""

    low_S: float
    high_S: float
    low_error_S: float = 0.0
    high_error_S: float = 0.0

    @property
    def width_S(self) -> float:
        """Its width, S."""
        return self.high_S - self.low_S

    @property
    def width_error_rel(self) -> float:
        """Standard error of the width, relative to it."""
        return math.hypot(self.low_error_S, self.high_error_S) / self.width_S

    def way(self, g_S: Floats, up: bool) -> Floats:
        """How far through the window a conductance is, from where sweeps of the direction begin."""
        return (g_S - self.low_S if up else self.high_S - g_S) / self.width_S


@dataclass(frozen=True)
class DirectionFit:
    """Set or reset."""

    up: bool
    rho: float
    rho_error: float
    log_step: float
    """log s_0."""
    log_step_error: float
    log_step_slope: float
    """By how much log s_0 grows with rho along the best fits."""
    device_log_steps: Floats
    device_errors: Floats
    n_steps: int
    """Steps that were fitted."""
    misfit_rel: float
    """How far mean steps lie off the model along the window, relative to it, beyond their errors (rms)."""

    @property
    def nonlinearity(self) -> float:
        """`nonlinearity_set` or `nonlinearity_reset`."""
        return -math.log1p(-min(max(self.rho, 0.0), STEEPEST))

    def nonlinearity_error(self, width_error_rel: float) -> float:
        """Its standard error."""
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
        """Its standard error, by the slope of log N along both parameters."""
        n, h = math.log(self.n_pulses()), 1e-4
        by_step = (math.log(self.n_pulses(log_step=self.log_step + h)) - n) / h
        down = self.rho - h
        along = n - math.log(self.n_pulses(rho=down, log_step=self.log_step - h * self.log_step_slope))
        return self.n_pulses() * math.hypot(by_step * self.log_step_error, along / h * self.rho_error, width_error_rel)


def sweep_residuals(steps: Steps, window: Window, fit: DirectionFit, mean_factor: float = 1.0) -> tuple[Floats, Floats]:
    """For each sweep the root mean square of data minus model, S, and R^2, the model starting where the data does.

    Args:
        steps: of one direction.
        window: the ends of the window.
        fit: of that direction.
        mean_factor: mean of a step that never works backwards, over the mean of the Gaussian behind it.
    """
    sweep, number = steps.sweep, steps.number
    s = np.exp(fit.device_log_steps)[steps.device] * mean_factor
    rho = min(max(fit.rho, 1e-9), STEEPEST)
    begin = window.way(steps.before_S, fit.up)[np.flatnonzero(number == 0)][sweep]
    end = 1 / rho
    model = np.minimum(end + (begin - end) * (1 - np.minimum(s * rho, 1.0)) ** (number + 1), 1.0)
    data = window.way(steps.after_S, fit.up)
    count = sums_by(sweep)
    error = sums_by(sweep, (data - model) ** 2)
    mean = sums_by(sweep, data) / count
    total = sums_by(sweep, (data - mean[sweep]) ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        r_squared = 1 - error / total
    return np.sqrt(error / count) * window.width_S, np.where(count > 2, r_squared, np.nan)
