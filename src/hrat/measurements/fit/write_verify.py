"""Fit of write-verify records: the programming error that training draws."""

from __future__ import annotations

import numpy as np

from hrat.measurements.fit.findings import Findings
from hrat.measurements.fit.spread_polynomial import fit_spreads
from hrat.measurements.read import Floats
from hrat.spec import TABLE_PROBABILITIES

__all__ = ["fit_write_verify"]

FEWEST = 30
"""Devices from which a spread is fitted."""
FEWEST_FOR_TABLE = 500
"""Devices at each target from which the distribution itself is taken, tails and all."""
EDGE, EDGE_SHARE = 0.8, 0.04
"""A tolerance shows where at least this share of errors lies in the outer fifth."""


def fit_write_verify(columns: dict[str, Floats], window_S: tuple[float, float]) -> Findings:
    """Fit the spread around targets, and find tolerance and pulse budget where the records show them.

    Args:
        columns: cleaned rows of a write-verify file.
        window_S: the device's window, S.
    """
    target_S, achieved_S, pulses = columns["target"], columns["achieved"], columns.get("pulses")
    error_S = achieved_S - target_S
    fit = Findings()
    n = len(error_S)
    if n < FEWEST:
        fit.poor.append(f"write-verify: {n} devices are too few for a spread; expected at least {FEWEST}")
        return fit
    budget = None if pulses is None else _budget(pulses)
    if budget is not None:
        fit.add("programming.max_pulses", budget, 0.0, "", f"write-verify, {n:,} devices")
    accepted = np.ones(n, dtype=bool) if pulses is None or budget is None else pulses < budget
    if accepted.mean() < 0.999:
        fit.notes.append(f"write-verify: {1 - accepted.mean():.2%} of the devices spent all {budget} pulses")
    _error(fit, target_S, error_S, window_S)
    _tolerance(fit, np.abs(error_S[accepted]))
    _offset(fit, error_S)
    return fit


def _offset(fit: Findings, error_S: Floats) -> None:
    """Remark where devices miss their targets on average, which a spread does not show."""
    mean, deviation = float(error_S.mean()), float(error_S.std())
    mean_error = float(error_S.std() / len(error_S) ** 0.5)
    has_table = any(parameter.field == "programming.table_S" for parameter in fit.parameters)
    if abs(mean) > max(3 * mean_error, 0.1 * deviation) and not has_table:
        fit.notes.append(
            f"write-verify: devices end {mean * 1e6:+.3g} +- {mean_error * 1e6:.2g} uS off their targets on average, "
            "which a spread alone does not tell; hrat.characterise, or 500 devices at each target, give a table"
        )


def _error(fit: Findings, target_S: Floats, error_S: Floats, window_S: tuple[float, float]) -> None:
    """The distribution itself where there are devices enough for it, else its spread."""
    targets = np.unique(target_S)
    basis = f"write-verify, {len(error_S):,} devices"
    groups = [error_S[target_S == target] for target in targets] if len(targets) <= 512 else []
    covers = len(targets) >= 2 and targets[0] <= window_S[0] * 1.0001 and targets[-1] >= window_S[1] * 0.9999
    if groups and covers and min(map(len, groups)) >= FEWEST_FOR_TABLE:
        rows = [
            np.maximum(np.quantile(group, TABLE_PROBABILITIES) + target, 0.0)
            for group, target in zip(groups, targets, strict=True)
        ]
        fit.add("programming.table_targets_S", tuple(targets.tolist()), (0.0,) * len(targets), "S", basis)
        fit.add("programming.table_S", tuple(tuple(row.tolist()) for row in rows), (), "S", basis)
        return
    polynomials = fit_spreads([(target_S, error_S, np.zeros_like(error_S))], window_S, window_S[1])
    if polynomials is None:
        fit.poor.append("write-verify: all devices end on their targets; a spread cannot be fitted")
        return
    (spread,) = polynomials
    if spread.middle_error_S > 0.5 * spread.middle_S:
        fit.poor.append(
            f"write-verify: the spread in the middle of the window is {spread.middle_S * 1e6:.2g} +- "
            f"{spread.middle_error_S * 1e6:.2g} uS; more devices are needed"
        )
    fit.add("programming.sigma_poly_S", spread.coefficients_S, spread.errors_S, "S", basis)
    fit.add("programming.sigma_poly_ref_S", spread.ref_S, 0.0, "S", "the upper end of the fitted window")


def _budget(pulses: Floats) -> int | None:
    """The most pulses, where several devices spent exactly so many: more than the numbers before it lead on to."""
    most = int(pulses.max())
    at_most, before = int((pulses == most).sum()), int((pulses == most - 1).sum())
    return most if at_most >= 3 and at_most > 3 * max(before, 1) else None


def _tolerance(fit: Findings, size_S: Floats) -> None:
    """The accepted error, where the errors end in an edge."""
    if len(size_S) < FEWEST:
        return
    largest = float(size_S.max())
    outer = int((size_S > EDGE * largest).sum())
    if largest == 0 or outer < EDGE_SHARE * len(size_S):
        fit.notes.append("write-verify: errors fade out without an edge, so that the tolerance was not found")
        return
    # Errors just below the edge lie (1 - EDGE) largest / outer apart: so far the edge is beyond the largest one.
    gap = (1 - EDGE) * largest / outer
    fit.add("programming.tolerance_S", largest + gap, gap, "S", f"write-verify, edge of {len(size_S):,} errors")
