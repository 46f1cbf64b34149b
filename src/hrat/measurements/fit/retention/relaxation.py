"""Relaxation: the spread around the decay, at some times after programming."""

from __future__ import annotations

import math

import numpy as np

from hrat.measurements.fit.findings import Findings
from hrat.measurements.fit.result import MeasuredRetention
from hrat.measurements.fit.retention.trend import BOLTZMANN_EV_K, Trend, basis_of
from hrat.measurements.fit.spread_polynomial import SpreadPolynomial, fit_spreads
from hrat.measurements.read import Floats, Mask, RetentionReadings

__all__ = ["fit_relaxation"]

FEWEST_DEVICES = 10
"""Devices from which the spread at a time is fitted."""

MOST_TIMES = 6
"""Times at which the spread is fitted."""


def fit_relaxation(
    findings: Findings,
    readings: RetentionReadings,
    trend: Trend,
    window_S: tuple[float, float],
    read_noise_rel: float,
) -> MeasuredRetention | None:
    """Fit the spread around the decay.

    Args:
        findings: is told the figures.
        readings: readings of all devices.
        trend: the decay.
        window_S: the device's window, S.
        read_noise_rel: relative noise of one reading; 0: unknown.

    Returns:
        The data put together for pictures; None where there is none.
    """
    usable = np.isclose(readings.inverse_K, 0.0, atol=1e-7) & (readings.t_s > 0)  # at the reference temperature
    if not usable.any():
        return None
    times_s, sets = _by_time(readings, usable, trend, read_noise_rel)
    if not sets:
        findings.poor.append(f"retention: fewer than {FEWEST_DEVICES} devices at every time; the spread is unknown")
        return None
    polynomials = fit_spreads(sets, window_S, window_S[1])
    if polynomials is None:
        findings.notes.append("retention: devices wander no further than the noise of readings; no relaxation")
    else:
        _judge(findings, times_s, polynomials)
        if read_noise_rel == 0:
            findings.notes.append("retention: the noise of readings is unknown, and is in the relaxation")
        _figures(findings, times_s, polynomials, basis_of(readings))
    return MeasuredRetention(
        times_s,
        tuple(
            float(left_S.mean() + trend.shift_S * math.log(max(t_s, 1.0)))
            for t_s, (_, left_S, _) in zip(times_s, sets, strict=True)
        ),
        tuple(float(left_S.std()) for _, left_S, _ in sets),
    )


def _by_time(
    readings: RetentionReadings, usable: Mask, trend: Trend, read_noise_rel: float
) -> tuple[tuple[float, ...], list[tuple[Floats, Floats, Floats]]]:
    """Times after programming, s, and for each what `fit_spreads` takes: states, deviations, variances of the noise."""
    ahead_s = np.maximum(readings.t_s * np.exp(trend.energy_eV / BOLTZMANN_EV_K * readings.inverse_K), 1e-300)
    left_S = readings.g_S - readings.start_S - trend.shift_S * np.log(np.maximum(ahead_s, 1.0))
    noise = read_noise_rel**2 * (readings.start_S**2 + readings.g_S**2)
    part = np.searchsorted(_time_edges(readings.t_s[usable]), readings.t_s, side="right")
    times_s, sets = [], []
    for k in np.unique(part[usable]):
        inside = usable & (part == k)
        if inside.sum() >= FEWEST_DEVICES:
            times_s.append(float(np.exp(np.log(readings.t_s[inside]).mean())))
            sets.append((readings.start_S[inside], left_S[inside], noise[inside]))
    return tuple(times_s), sets


def _time_edges(t_s: Floats) -> Floats:
    """Times that part the readings into at most MOST_TIMES groups: between nominal times, or evenly in ln t."""
    log_t = np.sort(np.log(t_s))
    gaps = np.diff(log_t)
    wide = np.flatnonzero(gaps > 0.2)
    if len(wide) < MOST_TIMES:
        return np.asarray(np.exp((log_t[wide] + log_t[wide + 1]) / 2))
    return np.asarray(np.exp(np.linspace(log_t[0], log_t[-1], MOST_TIMES + 1)[1:-1]))


def _judge(findings: Findings, times_s: tuple[float, ...], polynomials: list[SpreadPolynomial]) -> None:
    """Refuse spreads that are not known to within a half."""
    for t_s, polynomial in zip(times_s, polynomials, strict=True):
        if polynomial.middle_error_S > 0.5 * polynomial.middle_S:
            findings.poor.append(
                f"retention: the spread after {t_s:.3g} s is {polynomial.middle_S * 1e6:.2g} +- "
                f"{polynomial.middle_error_S * 1e6:.2g} uS in the middle of the window; more devices are needed"
            )


def _figures(findings: Findings, times_s: tuple[float, ...], polynomials: list[SpreadPolynomial], basis: str) -> None:
    coefficients_S = tuple(polynomial.coefficients_S for polynomial in polynomials)
    errors_S = tuple(polynomial.errors_S for polynomial in polynomials)
    findings.add("retention.relax_times_s", times_s, (0.0,) * len(times_s), "s", basis)
    findings.add("retention.relax_sigma_S", coefficients_S, errors_S, "S", basis)
    findings.add("retention.relax_ref_S", polynomials[0].ref_S, 0.0, "S", "the upper end of the fitted window")
