"""Scatter of steps: from cycle to cycle, and by the noise of the readings between them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hrat.measurements.fit.statistics import error_of_root, summed_by_cluster
from hrat.measurements.fit.sweeps.step_fit import Spreads, StepFit
from hrat.measurements.read import Floats, Ints

__all__ = ["SpreadEstimate", "find_spreads"]


@dataclass(frozen=True)
class SpreadEstimate:
    """Noise of steps, with the standard errors of its parts."""

    spreads: Spreads
    cycle_rel_error: float
    cycle_error: float
    read_error: float


def find_spreads(problems: list[StepFit], now: Spreads, *, read_known: bool) -> SpreadEstimate:
    """Noise of steps from the squares of the residuals, and that of readings from how neighbours go together.

    A reading that is too high makes one step too long and the next too short: the covariance of neighbouring steps is
    the variance of the reading between them, with a minus sign.
    """
    read, read_error = (now.read_rel, 0.0) if read_known else _read_noise(problems, now)
    # In units in which both parts are of order one, so that the equations are well conditioned.
    typical = float(np.mean(np.concatenate([problem.noise(now)[0][problem.keep] for problem in problems])))
    blocks = [_block(problem, now, read, typical) for problem in problems]
    squares, covariance = _two_parts(blocks)
    rel, absolute = math.sqrt(squares[0]), math.sqrt(squares[1])
    return SpreadEstimate(
        Spreads(rel, absolute * typical, read),
        error_of_root(rel, covariance[0, 0]),
        error_of_root(absolute, covariance[1, 1]) * typical,
        read_error,
    )


@dataclass(frozen=True)
class _Block:
    """Squared residuals of one direction and their regressors, a part in proportion to the step and a constant one."""

    cluster: Ints
    weight: Floats
    basis: Floats
    """`(2, n)`."""
    excess: Floats
    """Squared residuals less what the readings are expected to add, `(n,)`."""


def _block(problem: StepFit, now: Spreads, read: float, typical: float) -> _Block:
    expected, residual = (part[problem.keep] for part in problem.noise(now))
    noise = read**2 * problem.read_variance[problem.keep]
    weight = (typical**2 / (now.cycle_rel**2 * expected**2 + now.cycle**2 + noise + 1e-12)) ** 2
    basis = np.stack([(expected / typical) ** 2, np.ones_like(expected)])
    _, deviation, before_cut = now.moments(expected)
    excess = (residual**2 - noise) * (before_cut / deviation / typical) ** 2
    return _Block(problem.cluster[problem.keep], weight, basis, excess)


def _two_parts(blocks: list[_Block]) -> tuple[Floats, Floats]:
    """Squares of both parts of the noise by weighted least squares, none below zero, and their covariance."""
    normal, right = np.zeros((2, 2)), np.zeros(2)
    for block in blocks:
        normal += (block.weight * block.basis) @ block.basis.T
        right += (block.weight * block.basis) @ block.excess
    squares: Floats = np.asarray(np.linalg.lstsq(normal, right, rcond=1e-9)[0], dtype=np.float64)
    covariance = _sandwich(normal, blocks, squares)
    # Together only where the second part is clearly there; else the first alone, or the second if the first is not.
    if squares[1] <= 3 * math.sqrt(covariance[1, 1]) or squares[0] < 0:
        k = 0 if squares[0] >= 0 else 1
        squares = np.zeros(2)
        squares[k] = max(right[k] / normal[k, k], 0.0)
        alone = np.zeros((2, 2))
        alone[k, k] = normal[k, k]
        covariance = _sandwich(alone, blocks, squares)
    return squares, covariance


def _sandwich(normal: Floats, blocks: list[_Block], squares: Floats) -> Floats:
    """Covariance of the solution, robust to the distribution and to correlation within clusters."""
    meat = np.zeros((2, 2))
    for block in blocks:
        scores = block.weight * block.basis * (block.excess - squares @ block.basis)
        by_cluster = summed_by_cluster(block.cluster, scores)
        n = int(np.count_nonzero(by_cluster[0]))
        meat += by_cluster @ by_cluster.T * (n / max(n - 1, 1))
    bread = np.linalg.pinv(normal, rcond=1e-9)
    return np.asarray(bread @ meat @ bread)


def _read_noise(problems: list[StepFit], now: Spreads) -> tuple[float, float]:
    """Relative noise of a reading and its standard error; zero where it is not significant."""
    total, square, weight_sum = 0.0, 0.0, 0.0
    for problem in problems:
        expected, residual = problem.noise(now)
        weight = 1 / (now.variance(expected, problem.read_variance) + 1e-12)
        pair = ~problem.steps.starts_sweep[1:] & problem.keep[1:] & problem.keep[:-1]
        product = -(residual[1:] * residual[:-1] * weight[1:] * problem.middle_square[1:] * weight[:-1])[pair]
        total += float(product.sum())
        square += float((product**2).sum())
        weight_sum += float((weight[1:] * problem.middle_square[1:] ** 2 * weight[:-1])[pair].sum())
    if weight_sum == 0 or total <= 2 * math.sqrt(square):
        return 0.0, 0.0
    read = math.sqrt(total / weight_sum)
    return read, error_of_root(read, square / weight_sum**2)
