"""The choice of the pulse model, and the figures of each: soft bounds, equal steps, or a table of changes."""

from __future__ import annotations

import numpy as np

from hrat.errors import DataError
from hrat.measurements.fit.result import SweepResiduals
from hrat.measurements.fit.statistics import truncated_moments
from hrat.measurements.fit.sweeps.direction import sweep_residuals
from hrat.measurements.fit.sweeps.judgement import CLEAR_MISFIT, judge_direction
from hrat.measurements.fit.sweeps.jump_table import JumpTable, make_jump_table
from hrat.measurements.fit.sweeps.pulse_fit import PulseFit, fit_pulses
from hrat.measurements.fit.sweeps.steps import Steps
from hrat.measurements.fit.sweeps.sweep_result import NAMES, SweepFit
from hrat.measurements.read import SweepReadings

__all__ = ["fit_model"]


def fit_model(fit: SweepFit, sweeps: dict[bool, Steps], readings: SweepReadings, model: str) -> None:
    """Fit the pulse model.

    Args:
        fit: is told the figures, and reasons not to trust them.
        sweeps: steps by direction (true: set).
        readings: readings of all devices, for what repeated readings tell.
        model: `soft_bounds`, `linear_step`, `jump_table` or `auto`.

    Raises:
        DataError: a table is asked for, and there are too few steps for it.
    """
    read = None if readings.read_noise_rel is None else (readings.read_noise_rel, readings.read_noise_error)

    def fitted(linear: bool) -> PulseFit:
        return fit_pulses(sweeps, fit.window, linear=linear, read=read, n_reads=readings.n_reads)

    pulses = fitted(linear=model == "linear_step")
    if pulses.read_rel > 0:
        how = "repeated readings" if read else "how neighbouring steps go together"
        fit.findings.add("device.read_noise_rel", pulses.read_rel, pulses.read_rel_error, "", how)
        fit.read_noise_rel = pulses.read_rel
    chosen, table = model, None
    if model == "auto":
        chosen, table = _choice(fit, sweeps, pulses)
        if chosen == "linear_step":
            pulses = fitted(linear=True)
    fit.findings.choices["pulses.model"] = (chosen, "asked for" if model != "auto" else "found by the fit")
    if chosen == "jump_table":
        _table_figures(fit, make_jump_table(sweeps, fit.window) if table is None else table)
    else:
        _direction_figures(fit, sweeps, chosen, pulses)
        _spread_figures(fit, pulses)


def _choice(fit: SweepFit, sweeps: dict[bool, Steps], pulses: PulseFit) -> tuple[str, JumpTable | None]:
    """A table where the exponential is clearly off, equal steps where they do not shrink, else the exponential."""
    directions = pulses.directions.values()
    misfit_rel = max(part.misfit_rel for part in directions)
    table = make_jump_table(sweeps, fit.window) if misfit_rel > CLEAR_MISFIT else None
    if table is not None:
        fit.findings.notes.append(
            f"mean steps lie clearly off the exponential (by {misfit_rel:.0%} on average): a table was made instead"
        )
        return "jump_table", table
    if len(directions) == 2 and all(part.rho < 2 * part.rho_error for part in directions):
        return "linear_step", None
    return "soft_bounds", None


def _table_figures(fit: SweepFit, table: JumpTable | None) -> None:
    if table is None:
        raise DataError(
            "model jump_table: too few steps; expected at least 20 set and 20 reset pulses that begin in each of 3 "
            "parts of the window. Take soft_bounds or linear_step"
        )
    findings, basis = fit.findings, f"{table.n_steps:,} steps"
    findings.add("jump_table.g_S", table.g_S, (0.0,) * len(table.g_S), "S", basis)
    findings.add("jump_table.set_S", table.set_S, (), "S", f"{basis}, quantiles")
    findings.add("jump_table.reset_S", table.reset_S, (), "S", f"{basis}, quantiles")
    findings.choices["pulses.device_spread_rel"] = (0.0, "how devices differ is in the quantiles of jump_table")
    middle = len(table.g_S) // 2
    for up in (True, False):
        mean_S, error_S = table.mean_S[up][middle], table.mean_error_S[up][middle]
        if error_S > 0.5 * abs(mean_S):
            findings.poor.append(
                f"{NAMES[up]}: the mean step in the middle of the window is {mean_S * 1e6:+.3g} +- "
                f"{error_S * 1e6:.2g} uS; more pulses are needed"
            )
    if fit.read_noise_rel > 0:
        findings.notes.append("the noise of readings is in the quantiles of jump_table too")


def _direction_figures(fit: SweepFit, sweeps: dict[bool, Steps], model: str, pulses: PulseFit) -> None:
    """Pulses through the window and nonlinearity of each direction, and how well they tell its sweeps."""
    width_error_rel = fit.window.width_error_rel
    longer = float(truncated_moments(np.array([pulses.cycle_rel]))[0][0])
    for up, part in pulses.directions.items():
        name = NAMES[up]
        basis = f"{part.n_steps:,} {name} pulses of {len(part.device_log_steps):,} devices"
        fit.findings.add(f"{model}.n_{name}", part.n_pulses(), part.n_pulses_error(width_error_rel), "", basis)
        if model == "soft_bounds":
            error = part.nonlinearity_error(width_error_rel)
            fit.findings.add(f"soft_bounds.nonlinearity_{name}", part.nonlinearity, error, "", basis)
        rms_S, r_squared = sweep_residuals(sweeps[up], fit.window, part, longer)
        fit.residuals.append(SweepResiduals(name, tuple(rms_S.tolist()), tuple(r_squared.tolist())))
        judge_direction(fit, part, model)


def _spread_figures(fit: SweepFit, pulses: PulseFit) -> None:
    """Spread from cycle to cycle and from device to device."""
    findings, directions = fit.findings, pulses.directions.values()
    basis = f"{sum(part.n_steps for part in directions):,} steps"
    findings.add("pulses.cycle_spread_rel", pulses.cycle_rel, pulses.cycle_rel_error, "", basis)
    if pulses.cycle_S > 0:
        findings.add("pulses.cycle_spread_S", pulses.cycle_S, pulses.cycle_error_S, "S", basis)
    else:
        findings.choices["pulses.cycle_spread_S"] = (0.0, "no part of the spread is the same for all steps")
    if pulses.device_rel is not None:
        n = max(len(part.device_log_steps) for part in directions)
        findings.add("pulses.device_spread_rel", pulses.device_rel, pulses.device_rel_error, "", f"{n:,} devices")
        if n < 5:
            findings.notes.append(f"{n} devices tell little of how devices differ")
    if pulses.cycle_rel > 1.5:
        findings.poor.append(f"steps scatter by {pulses.cycle_rel:.0%} of their size; a mean step tells little of them")
