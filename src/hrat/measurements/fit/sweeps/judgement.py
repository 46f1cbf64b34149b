"""Reasons not to trust the fit of a direction, and remarks on it."""

from __future__ import annotations

import numpy as np

from hrat.measurements.fit.findings import Findings
from hrat.measurements.fit.result import MeasuredCurve
from hrat.measurements.fit.sweeps.direction import STEEPEST, DirectionFit
from hrat.measurements.fit.sweeps.sweep_result import NAMES, SweepFit

__all__ = ["CLEAR_MISFIT", "judge_direction"]

LOWEST_R_SQUARED = 0.7
"""Median R^2 of the sweeps below which the model is refused."""

LARGEST_MISFIT = 0.5
"""Relative distance of mean steps from the model above which it is refused."""

CLEAR_MISFIT = 0.15
"""Relative distance of mean steps from the model above which `auto` prefers the table."""

STILL_MOVING = 0.25
"""Ratio of the last steps to the first ones above which the window may go on."""


def judge_direction(fit: SweepFit, direction: DirectionFit, model: str) -> None:
    """Judge a direction whose figures and residuals were found last.

    Args:
        fit: is told reasons and remarks.
        direction: its fit.
        model: `soft_bounds` or `linear_step`.
    """
    name, width_error_rel = NAMES[direction.up], fit.window.width_error_rel
    n, n_error = direction.n_pulses(), direction.n_pulses_error(width_error_rel)
    if not n_error < 0.5 * n:
        fit.findings.poor.append(
            f"{name}: n_{name} is {n:.3g} +- {n_error:.2g}, which says too little; more pulses are needed"
        )
    r_squared = fit.residuals[-1].median_r_squared
    if not r_squared >= LOWEST_R_SQUARED:
        fit.findings.poor.append(
            f"{name}: the model explains {r_squared:.0%} of what a sweep does (median R^2; at least "
            f"{LOWEST_R_SQUARED:.0%} expected)"
        )
    _judge_misfit(fit.findings, name, direction.misfit_rel)
    if model == "soft_bounds":
        _judge_nonlinearity(fit.findings, name, direction, width_error_rel)
    _judge_end(fit.findings, name, next(curve for curve in fit.curves if curve.direction == name))


def _judge_misfit(findings: Findings, name: str, misfit_rel: float) -> None:
    words = f"{name}: mean steps lie {misfit_rel:.0%} off the model along the window"
    if misfit_rel > LARGEST_MISFIT:
        findings.poor.append(f"{words}; jump_table may tell them")
    elif misfit_rel > CLEAR_MISFIT:
        findings.notes.append(words)


def _judge_nonlinearity(findings: Findings, name: str, direction: DirectionFit, width_error_rel: float) -> None:
    value, error = direction.nonlinearity, direction.nonlinearity_error(width_error_rel)
    if direction.rho < -2 * direction.rho_error:
        findings.poor.append(
            f"{name}: steps grow along the sweep, so that the nonlinearity is at its bound 0; take linear_step or "
            "jump_table"
        )
    elif direction.rho >= STEEPEST:
        findings.notes.append(
            f"{name}: steps fade out within the window, so that the nonlinearity is at its upper bound; larger "
            "ones look alike"
        )
    elif error > max(1.0, 0.5 * value):
        findings.poor.append(f"{name}: nonlinearity_{name} is {value:.2g} +- {error:.2g}; more pulses are needed")


def _judge_end(findings: Findings, name: str, curve: MeasuredCurve) -> None:
    """Remark where pulse sweeps end before the end of the device's window."""
    steps_S = np.abs(np.diff(curve.mean_S))
    if len(steps_S) >= 8 and steps_S[-3:].mean() > STILL_MOVING * steps_S[:3].mean():
        findings.notes.append(
            f"{name} sweeps still move when they end, by {steps_S[-3:].mean() / steps_S[:3].mean():.0%} of their first "
            "steps: the window is what was measured, the device's own may be wider"
        )
