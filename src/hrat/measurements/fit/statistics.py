"""Estimators and their standard errors, which all fits share."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from hrat.measurements.read import Floats, Ints

__all__ = [
    "clustered_least_squares",
    "error_of_root",
    "median_and_error",
    "spread_between",
    "summed_by_cluster",
    "sums_by",
    "truncated_moments",
]


def median_and_error(values: Floats) -> tuple[float, float]:
    """Median, and its standard error.

    The error is the larger one of 1.253 sigma / sqrt(n), with sigma from the median absolute deviation, and half the
    distance between the values sqrt(n) / 2 places to either side, which holds for skewed distributions too.
    """
    ordered = np.sort(values)
    n, middle = len(ordered), float(np.median(values))
    sigma = 1.4826 * float(np.median(np.abs(values - middle)))
    away = max(math.sqrt(n) / 2, 0.5)
    low, high = (int(np.clip(round((n - 1) / 2 + sign * away), 0, n - 1)) for sign in (-1, 1))
    return middle, max(1.2533 * sigma / math.sqrt(n), float(ordered[high] - ordered[low]) / 2)


def sums_by(group: Ints, values: Floats | None = None, n_groups: int = 0) -> Floats:
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
    variance = _variance_between(groups, degrees)
    information = sum(float((1 / (variance + errors**2) ** 2).sum()) for _, errors in groups)
    information *= degrees / max(sum(len(values) for values, _ in groups), 1)
    of_variance = math.sqrt(2 / information) if information > 0 else math.inf
    spread = math.sqrt(variance)
    # The error of a root: where the variance is not above its own error, the root of that error.
    error = of_variance / (2 * spread) if variance > of_variance / 2 else math.sqrt(of_variance)
    means = []
    for values, errors in groups:
        weights, mean = _weighted_mean(values, errors, variance)
        means.append((float(mean), float(weights.sum() ** -0.5)))
    return spread, error, means


def _weighted_mean(values: Floats, errors: Floats, variance: float) -> tuple[Floats, float]:
    """Inverse variances, where true values lie `variance` apart, and the mean weighted by them."""
    weights = 1 / (variance + errors**2)
    return weights, (weights * values).sum() / weights.sum()


def _variance_between(groups: list[tuple[Floats, Floats]], degrees: int) -> float:
    """Variance between true values with which the weighted sum of squares is `degrees`; 0 where it is less anyhow."""

    def excess(variance: float) -> float:
        total = 0.0
        for values, errors in groups:
            weights, mean = _weighted_mean(values, errors, variance)
            total += float((weights * (values - mean) ** 2).sum())
        return total - degrees

    if not (degrees > 0 and excess(0.0) > 0):
        return 0.0
    high = float(max(np.var(values) for values, _ in groups)) * 4 + 1e-30
    while excess(high) > 0:
        high *= 4
    return float(brentq(excess, 0.0, high, rtol=1e-10))


def error_of_root(root: float, variance: float) -> float:
    """Standard error of the root of an estimate, from the variance of the estimate; 0 for a root of zero."""
    return math.sqrt(max(variance, 0.0)) / (2 * root) if root > 0 else 0.0


def summed_by_cluster(cluster: Ints, scores: Floats) -> Floats:
    """Scores of each cluster added up, `(k, n)` -> `(k, clusters)`."""
    return np.stack([sums_by(cluster, score) for score in scores])


def clustered_least_squares(regressors: Floats, values: Floats, cluster: Ints) -> tuple[Floats, Floats]:
    """Ordinary least squares, with the covariance that is robust to errors that are correlated within clusters.

    Args:
        regressors: `(n, k)`.
        values: what they explain, `(n,)`.
        cluster: number of the cluster that each row belongs to, `(n,)`.

    Returns:
        Coefficients `(k,)` and their covariance `(k, k)`, by the sandwich estimator.
    """
    coefficients: Floats = np.asarray(np.linalg.lstsq(regressors, values, rcond=None)[0], dtype=np.float64)
    scores = regressors * (values - regressors @ coefficients)[:, None]
    by_cluster = summed_by_cluster(cluster, scores.T)
    n_clusters = max(int((sums_by(cluster) > 0).sum()), 2)
    bread = np.linalg.pinv(regressors.T @ regressors)
    meat = by_cluster @ by_cluster.T
    return coefficients, np.asarray(bread @ meat @ bread * (n_clusters / (n_clusters - 1)))


def truncated_moments(s: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of a step that never works backwards, `max(0, 1 + s z)`.

    With P and p the normal distribution and density at 1 / s: mean P + s p, mean square (1 + s^2) P + s p.
    """
    s = np.maximum(s, 1e-3)
    below, density = ndtr(1 / s), np.exp(-0.5 / s**2) / math.sqrt(2 * math.pi)
    mean = below + s * density
    return mean, np.sqrt(np.maximum((1 + s**2) * below + s * density - mean**2, 1e-12))
