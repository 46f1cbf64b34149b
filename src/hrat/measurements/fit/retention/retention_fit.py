"""Fit of retention records."""

from __future__ import annotations

from dataclasses import dataclass, field

from hrat.measurements.fit.findings import Findings
from hrat.measurements.fit.result import MeasuredRetention
from hrat.measurements.fit.retention.relaxation import fit_relaxation
from hrat.measurements.fit.retention.trend import fit_trend
from hrat.measurements.read import RetentionReadings

__all__ = ["RetentionFit", "fit_retention"]

FEWEST_DEVICES = 10
"""Devices from which anything is fitted."""


@dataclass
class RetentionFit:
    """Findings of the fit, and the data put together for pictures."""

    findings: Findings = field(default_factory=Findings)
    measured: MeasuredRetention | None = None


def fit_retention(readings: RetentionReadings, window_S: tuple[float, float], read_noise_rel: float) -> RetentionFit:
    """Fit the change of conductances with time.

    Args:
        readings: readings of all devices, in the order of time.
        window_S: the device's window, S.
        read_noise_rel: relative noise of one reading, which is in every spread; 0: unknown.
    """
    fit = RetentionFit()
    findings, n_devices = fit.findings, readings.n_devices
    if n_devices < FEWEST_DEVICES:
        findings.poor.append(
            f"retention: {n_devices} devices were read more than once; a spread needs at least {FEWEST_DEVICES}"
        )
        return fit
    if readings.reference_K is not None:
        for name in ("reference", "temperature"):
            basis = "the most frequent one of the retention records"
            findings.add(f"retention.{name}_K", readings.reference_K, 0.0, "K", basis)
    trend = fit_trend(findings, readings, window_S)
    if trend.drift is not None:
        fit.measured = trend.drift
    else:
        fit.measured = fit_relaxation(findings, readings, trend, window_S, read_noise_rel)
    return fit
