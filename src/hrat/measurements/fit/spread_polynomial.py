"""A spread that depends on the state: sigma(G) = sum_k c_k (G / ref)^k, the form of `sigma_poly_S` and `relax_sigma_S`.

Fitted to squares: for deviations r with variance sigma^2 + extra, r^2 - extra has the mean sigma^2 and the variance
2 (sigma^2 + extra)^2, by which it is weighted. The order is the one with the least Bayesian information criterion,
among those that stay above zero all over the window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from hrat.measurements.read import Floats

__all__ = ["SpreadPolynomial", "fit_spreads"]

HIGHEST_ORDER = 4
"""Highest power of the conductance."""

FEWEST_PER_COEFFICIENT = 25
"""Deviations that each coefficient needs."""

ROUNDS = 4
"""Rounds of fit and weights in turns."""


@dataclass(frozen=True)
class SpreadPolynomial:
    """A fitted spread that depends on the state."""

    coefficients_S: tuple[float, ...]
    errors_S: tuple[float, ...]
    ref_S: float
    middle_S: float
    """Value in the middle of the window, S."""
    middle_error_S: float

    def at(self, g_S: Floats) -> Floats:
        """Value at some conductances, S."""
        return np.asarray(np.polynomial.polynomial.polyval(g_S / self.ref_S, self.coefficients_S))


def fit_spreads(
    sets: list[tuple[Floats, Floats, Floats]], window_S: tuple[float, float], ref_S: float
) -> list[SpreadPolynomial] | None:
    """Fit one polynomial to each of some sets of deviations, all of the same order.

    Args:
        sets: for each, the conductances, the deviations and the variance that other noise has in them, `(n,)` each, S.
        window_S: where the polynomials have to stay above zero, S.
        ref_S: the reference conductance, S.

    Returns:
        The polynomials; None where the deviations are no larger than the other noise.
    """
    best: tuple[float, list[SpreadPolynomial]] | None = None
    distinct = min(len(np.unique(np.round(g_S / ref_S, 3))) for g_S, _, _ in sets)
    fewest = min(len(g_S) for g_S, _, _ in sets)
    highest = min(HIGHEST_ORDER, distinct - 1, max(fewest // FEWEST_PER_COEFFICIENT - 1, 0))
    for order in range(highest + 1):
        fitted = [_fit(g_S, r_S, extra, order, window_S, ref_S) for g_S, r_S, extra in sets]
        polynomials = [polynomial for polynomial in fitted if polynomial is not None]
        if len(polynomials) < len(sets):
            continue
        criterion = sum(_criterion(polynomial, *one) for polynomial, one in zip(polynomials, sets, strict=True))
        if best is None or criterion < best[0]:
            best = criterion, polynomials
    return None if best is None else best[1]


def _criterion(polynomial: SpreadPolynomial, g_S: Floats, r_S: Floats, extra: Floats) -> float:
    """Bayesian information criterion of a Gaussian with this spread."""
    variance = np.maximum(polynomial.at(g_S), 1e-4 * polynomial.ref_S * 1e-3) ** 2 + extra
    n_coefficients = len(polynomial.coefficients_S)
    return float((np.log(variance) + r_S**2 / variance).sum()) + n_coefficients * math.log(len(g_S))


def _fit(
    g_S: Floats, r_S: Floats, extra: Floats, order: int, window_S: tuple[float, float], ref_S: float
) -> SpreadPolynomial | None:
    """One polynomial; None where there is no spread, or where it falls to zero within the window."""
    level = float((r_S**2 - extra).mean())
    if level <= 0:
        return None
    unit = math.sqrt(level)
    basis = np.vander(g_S / ref_S, order + 1, increasing=True)
    coefficients, covariance = _coefficients(basis, (r_S / unit) ** 2, extra / level)
    grid = np.linspace(*window_S, 200) / ref_S
    if (np.vander(grid, order + 1, increasing=True) @ coefficients).min() <= 0:
        return None
    middle = np.vander(grid[100:101], order + 1, increasing=True)[0]
    return SpreadPolynomial(
        tuple(float(c) * unit for c in coefficients),
        tuple(float(v) ** 0.5 * unit for v in np.maximum(np.diag(covariance), 0.0)),
        ref_S,
        float(middle @ coefficients) * unit,
        float(max(middle @ covariance @ middle, 0.0)) ** 0.5 * unit,
    )


def _coefficients(basis: Floats, square: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """Iteratively reweighted least squares for `square = (basis c)^2 + noise`.

    Args:
        basis: powers of the conductance, `(n, order + 1)`.
        square: squared deviations, `(n,)`, of order one.
        noise: their part that is other noise, `(n,)`.

    Returns:
        Coefficients and their covariance, robust to the distribution (sandwich estimator).
    """
    coefficients = np.zeros(basis.shape[1])
    coefficients[0] = 1.0
    for _ in range(ROUNDS):
        sigma = np.maximum(basis @ coefficients, 0.05)
        scale = math.sqrt(2) * (sigma**2 + noise)

        def residuals(c: Floats, scale: Floats = scale) -> Floats:
            return np.asarray((square - noise - (basis @ c) ** 2) / scale)

        def slopes(c: Floats, scale: Floats = scale) -> Floats:
            return np.asarray(-2 * (basis @ c)[:, None] * basis / scale[:, None])

        coefficients = least_squares(residuals, coefficients, jac=slopes).x
        if (basis @ coefficients).mean() < 0:
            coefficients = -coefficients  # the squares do not know its sign
    jacobian, left = slopes(coefficients), residuals(coefficients)
    bread = np.linalg.pinv(jacobian.T @ jacobian)
    return coefficients, bread @ ((jacobian * left[:, None] ** 2).T @ jacobian) @ bread
