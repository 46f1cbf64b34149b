"""Estimates with standard errors: what all fits share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr

from hrat.measurements.reading import Floats

__all__ = ["Parameter", "median_and_error", "rounded", "spread_between", "sums_by", "truncated_moments"]


@dataclass(frozen=True)
class Parameter:
    """A fitted figure of the spec."""

    field: str
    """`section.field` of the spec."""
    value: float | tuple[float, ...] | tuple[tuple[float, ...], ...]
    error: float | tuple[float, ...] | tuple[tuple[float, ...], ...]
    """Standard error, of each value; empty for quantiles, and 0 for what was read off and not fitted."""
    unit: str = ""
    basis: str = ""
    """What it was fitted to, for the sources of the preset."""

    def text(self) -> str:
        """Value and error for people: `43.2 +- 1.8`, conductances in uS or nS."""
        scale, unit = 1.0, f" {self.unit}" if self.unit else ""
        if self.unit == "S":
            largest = max(np.abs(np.ravel(np.asarray(self.value, dtype=np.float64))), default=0.0)
            scale, unit = (1e6, " uS") if largest >= 1e-7 or largest == 0 else (1e9, " nS")
        if isinstance(self.value, tuple):
            if self.value and isinstance(self.value[0], tuple):
                return f"a table of {len(self.value)} x {len(self.value[0])}"
            errors = self.error if isinstance(self.error, tuple) and len(self.error) == len(self.value) else None
            pairs = zip(self.value, errors or (0.0,) * len(self.value), strict=True)
            return ", ".join(_with_error(v * scale, e * scale) for v, e in pairs) + unit  # type: ignore[operator]
        assert not isinstance(self.error, tuple)
        return _with_error(self.value * scale, self.error * scale) + unit

    def __str__(self) -> str:
        return f"{self.field} = {self.text()}"


def _with_error(value: float, error: float) -> str:
    """As many digits as the error is worth: two of its own."""
    if error <= 0 or not math.isfinite(error):
        return f"{value:.6g}"
    digits = max(1 - math.floor(math.log10(error)), 0)
    if digits > 6:
        return f"{value:.4g} +- {error:.2g}"
    return f"{value:.{digits}f} +- {error:.{digits}f}"


def median_and_error(values: Floats) -> tuple[float, float]:
    """Median, and its standard error.

    The larger one of 1.253 sigma / sqrt(n), with sigma from the median absolute deviation, and half the distance
    between the values sqrt(n) / 2 places to either side, which holds for skewed distributions too.
    """
    ordered = np.sort(values)
    n, middle = len(ordered), float(np.median(values))
    sigma = 1.4826 * float(np.median(np.abs(values - middle)))
    away = max(math.sqrt(n) / 2, 0.5)
    low, high = (int(np.clip(round((n - 1) / 2 + sign * away), 0, n - 1)) for sign in (-1, 1))
    return middle, max(1.2533 * sigma / math.sqrt(n), float(ordered[high] - ordered[low]) / 2)


def rounded(value: float) -> float:
    """Six digits: more than any error here leaves, and readable in a file."""
    return float(f"{value:.6g}")


def sums_by(group: NDArray[np.int64], values: Floats | None = None, n_groups: int = 0) -> Floats:
    """Sum of the values, or their count where none are given, of each group."""
    return np.asarray(np.bincount(group, values, n_groups), dtype=np.float64)


def spread_between(groups: list[tuple[Floats, Floats]]) -> tuple[float, float, list[tuple[float, float]]]:
    """Random effects: how far true values lie apart, once the errors of their estimates are taken off.

    Paule and Mandel's estimate: the variance between is such that the weighted sum of squares has its expected value,
    one for each degree of freedom. Groups share it, and each has a mean of its own.

    Args:
        groups: for each, estimates and their standard errors, `(n,)` each.

    Returns:
        The spread, its standard error, and for each group the mean with its standard error.
    """
    degrees = sum(len(values) - 1 for values, _ in groups)

    def excess(variance: float) -> float:
        total = 0.0
        for values, errors in groups:
            weights = 1 / (variance + errors**2)
            mean = (weights * values).sum() / weights.sum()
            total += float((weights * (values - mean) ** 2).sum())
        return total - degrees

    variance = 0.0
    if degrees > 0 and excess(0.0) > 0:
        high = float(max(np.var(values) for values, _ in groups)) * 4 + 1e-30
        while excess(high) > 0:
            high *= 4
        variance = float(brentq(excess, 0.0, high, rtol=1e-10))
    information = sum(float((1 / (variance + errors**2) ** 2).sum()) for _, errors in groups)
    information *= degrees / max(sum(len(values) for values, _ in groups), 1)
    of_variance = math.sqrt(2 / information) if information > 0 else math.inf
    spread = math.sqrt(variance)
    # The error of a root: where the variance is not above its own error, the root of that error.
    error = of_variance / (2 * spread) if variance > of_variance / 2 else math.sqrt(of_variance)
    means = []
    for values, errors in groups:
        weights = 1 / (variance + errors**2)
        means.append((float((weights * values).sum() / weights.sum()), float(weights.sum() ** -0.5)))
    return spread, error, means


def truncated_moments(s: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of a step that never works backwards, `max(0, 1 + s z)`.

    With P and p the normal distribution and density at 1 / s: mean P + s p, mean square (1 + s^2) P + s p.
    """
    s = np.maximum(s, 1e-3)
    below, density = ndtr(1 / s), np.exp(-0.5 / s**2) / math.sqrt(2 * math.pi)
    mean = below + s * density
    return mean, np.sqrt(np.maximum((1 + s**2) * below + s * density - mean**2, 1e-12))
