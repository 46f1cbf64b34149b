"""The mean change with time: decay, drift, and the activation energy of either."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.constants import Boltzmann, elementary_charge

from hrat.measurements.fit.findings import Findings
from hrat.measurements.fit.result import MeasuredRetention
from hrat.measurements.fit.statistics import clustered_least_squares, spread_between, sums_by
from hrat.measurements.read import Floats, Ints, Mask, RetentionReadings

__all__ = ["BOLTZMANN_EV_K", "Trend", "basis_of", "fit_trend"]

BOLTZMANN_EV_K = Boltzmann / elementary_charge
"""k / e, eV/K."""

SIGNIFICANT = 3.0
"""Standard errors by which a mean slope must differ from zero."""

MOST_TIMES_DRAWN = 12
"""Times of a drift that are put together for pictures."""


@dataclass(frozen=True)
class Trend:
    """Mean change of the conductance with time."""

    shift_S: float = 0.0
    """Decay each time that ln t grows by one, S."""
    energy_eV: float = 0.0
    """Activation energy of the decay; 0 where none was found."""
    drift: MeasuredRetention | None = None
    """Data put together for pictures where the change is a drift; None where it is a decay, or nothing."""


def fit_trend(findings: Findings, readings: RetentionReadings, window_S: tuple[float, float]) -> Trend:
    """Decay or drift, whichever explains the slopes of the devices better.

    Args:
        findings: is told the figures, and what was not found.
        readings: readings of all devices.
        window_S: the device's window, S.
    """
    counts = readings.t_s >= 1.0
    if np.unique(np.round(np.log(readings.t_s[counts]), 2)).size < 2:
        findings.notes.append("retention: readings at one time only (above 1 s), so that no decay or drift can be told")
        return Trend()
    slope, start_S = _slopes(readings, counts)
    mean, error = float(slope.mean()), float(slope.std(ddof=1) / math.sqrt(len(slope)))
    if abs(mean) < SIGNIFICANT * error:
        findings.notes.append(
            f"retention: no decay or drift ({mean * 1e6:+.2g} +- {error * 1e6:.2g} uS each time that ln t grows by one)"
        )
        return Trend()
    if _proportional(slope, start_S):
        return Trend(drift=_drift(findings, readings, window_S))
    return _decay(findings, readings, counts)


def basis_of(readings: RetentionReadings) -> str:
    """Data that a figure was fitted to, in words."""
    return f"retention, {readings.n_devices:,} devices"


def _slopes(readings: RetentionReadings, counts: Mask) -> tuple[Floats, Floats]:
    """Change of each device each time that ln t grows by one, S, and its programmed state, S.

    The lines run through the programmed state, which holds until 1 s.
    """
    device, n = readings.device[counts], readings.n_devices
    log_t = np.log(readings.t_s[counts])
    change_S = (readings.g_S - readings.start_S)[counts]
    square = sums_by(device, log_t**2, n)
    usable = square > 0
    start_S = sums_by(device, readings.start_S[counts], n) / np.maximum(sums_by(device, None, n), 1)
    return sums_by(device, log_t * change_S, n)[usable] / square[usable], start_S[usable]


def _proportional(slope: Floats, start: Floats) -> bool:
    """Whether slopes go with the conductance rather than being alike for all."""
    scale = 1 / np.maximum(start, start.max() * 1e-3)
    # Errors of slopes may grow with the conductance or not: each hypothesis is judged under the weights of either.
    ratios = []
    for weight in (np.ones_like(start), scale**2):
        alike = (weight * slope).sum() / weight.sum()
        along = (weight * slope * start).sum() / (weight * start**2).sum()
        ratios.append((weight * (slope - alike) ** 2).sum() / (weight * (slope - along * start) ** 2).sum())
    return float(np.prod(ratios)) > 1.0


def _decay(findings: Findings, readings: RetentionReadings, counts: Mask) -> Trend:
    """Change in ln t that is equal for all conductances, and how heat speeds it up."""
    regressors = [np.log(readings.t_s[counts])]
    if np.ptp(readings.inverse_K[counts]) > 0:
        regressors.append(readings.inverse_K[counts])
    change_S = (readings.g_S - readings.start_S)[counts]
    coefficients, covariance = clustered_least_squares(np.stack(regressors, axis=1), change_S, readings.device[counts])
    shift_S, error_S = float(coefficients[0]), float(covariance[0, 0] ** 0.5)
    findings.add("retention.relax_shift_S", shift_S, error_S, "S", basis_of(readings))
    if len(coefficients) == 1:
        return Trend(shift_S)
    return Trend(shift_S, _activation(findings, coefficients, covariance, basis_of(readings)))


def _drift(findings: Findings, readings: RetentionReadings, window_S: tuple[float, float]) -> MeasuredRetention | None:
    """Exponents of single devices, their mean along ln G, and their spread."""
    t0_s = float(readings.t_s[readings.t_s > 0].min())
    inner = readings.t_s >= t0_s
    device, log_t, n = readings.device[inner], np.log(readings.t_s[inner] / t0_s), readings.n_devices
    exponent, exponent_error, sound = _exponents(device, log_t, np.log(readings.g_S[inner]), n)
    start_S = (sums_by(readings.device, readings.start_S, n) / sums_by(readings.device, None, n))[sound]
    log_g = np.log(start_S / window_S[1])
    line, covariance = _line(log_g, exponent)
    spread, spread_error, _ = spread_between([(exponent - line[0] - line[1] * log_g, exponent_error)])
    errors = (float(covariance[0, 0] ** 0.5), float(covariance[1, 1] ** 0.5))
    basis = basis_of(readings)
    findings.add("retention.drift_nu_mean", line, errors, "", basis)
    findings.add("retention.drift_nu_sigma", (spread, 0.0), (spread_error, 0.0), "", basis)
    findings.add("retention.drift_ref_S", window_S[1], 0.0, "S", "the upper end of the fitted window")
    findings.add("retention.drift_t0_s", t0_s, 0.0, "s", "the first reading after programming")
    findings.notes.append("retention: conductances drift by a power of time; relaxation beside drift is not fitted")
    if np.ptp(readings.inverse_K) > 0:
        regressors = np.stack([log_t, readings.inverse_K[inner]], axis=1)
        log_loss = np.log(readings.start_S[inner] / readings.g_S[inner])
        _activation(findings, *clustered_least_squares(regressors, log_loss, device), basis)
    change_rel = readings.g_S / readings.start_S - 1
    return _drawn(readings.t_s, change_rel * float(start_S.mean()))


def _exponents(device: Ints, log_t: Floats, log_g: Floats, n_devices: int) -> tuple[Floats, Floats, Mask]:
    """Exponent of each device's power law, with its standard error, and which devices have one.

    Args:
        device: number of the device of each reading, `(n,)`.
        log_t: ln (t / t0), `(n,)`.
        log_g: ln G, `(n,)`.
        n_devices: how many devices there are.
    """
    count = np.maximum(sums_by(device, None, n_devices), 1)
    centred_t = log_t - (sums_by(device, log_t, n_devices) / count)[device]
    centred_g = log_g - (sums_by(device, log_g, n_devices) / count)[device]
    square = sums_by(device, centred_t**2, n_devices)
    product = sums_by(device, centred_t * -centred_g, n_devices)
    sound = square > 0
    residual = centred_g + product[device] / np.maximum(square[device], 1e-12) * centred_t
    degrees = max(len(device) - n_devices - int(sound.sum()), 1)
    error = math.sqrt(float((residual**2).sum()) / degrees) / np.sqrt(square[sound])
    return product[sound] / square[sound], error, sound


def _line(log_g: Floats, exponent: Floats) -> tuple[tuple[float, float], Floats]:
    """Mean exponent along ln G, `(constant, slope)`, and its covariance; a slope that is not significant is 0."""
    each = np.arange(len(exponent))
    line, covariance = clustered_least_squares(np.stack([np.ones_like(log_g), log_g], axis=1), exponent, each)
    if abs(line[1]) < SIGNIFICANT * covariance[1, 1] ** 0.5:
        line, covariance = clustered_least_squares(np.ones((len(exponent), 1)), exponent, each)
        line, covariance = np.append(line, 0.0), np.pad(covariance, (0, 1))
    return (float(line[0]), float(line[1])), covariance


def _activation(findings: Findings, coefficients: Floats, covariance: Floats, basis: str) -> float:
    """E_a from a slope in ln t and one in 1 / T_ref - 1 / T, whose ratio is E_a / k; 0 where it is not significant."""
    ratio = float(coefficients[1] / coefficients[0])
    gradient = np.array([-ratio, 1.0]) / coefficients[0]
    error_eV = math.sqrt(float(gradient @ covariance @ gradient)) * BOLTZMANN_EV_K
    energy_eV = float(ratio * BOLTZMANN_EV_K)
    words = f"(activation energy {energy_eV:.2g} +- {error_eV:.2g} eV)"
    if energy_eV < -2 * error_eV:
        findings.poor.append(f"retention: heat slows the change down {words}")
        return 0.0
    if energy_eV < 2 * error_eV:
        findings.notes.append(f"retention: no effect of temperature {words}")
        return 0.0
    findings.add("retention.activation_eV", energy_eV, error_eV, "eV", basis)
    return energy_eV


def _drawn(t_s: Floats, change_S: Floats) -> MeasuredRetention | None:
    """Mean and spread of the change at some of the times; None where no time has three readings."""
    times = np.unique(t_s)
    times = times[times > 0]
    places = np.linspace(0, len(times) - 1, min(len(times), MOST_TIMES_DRAWN)).round().astype(int)
    parts = [(float(t), change_S[t_s == t]) for t in times[np.unique(places)]]
    parts = [(t, part) for t, part in parts if len(part) >= 3]
    if not parts:
        return None
    return MeasuredRetention(
        tuple(t for t, _ in parts),
        tuple(float(part.mean()) for _, part in parts),
        tuple(float(part.std()) for _, part in parts),
    )
