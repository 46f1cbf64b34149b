"""How far steps scatter: from cycle to cycle, and by the noise of the readings between them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hrat.measurements.reading import Floats
from hrat.measurements.statistics import sums_by
from hrat.measurements.step_fit import Spreads, StepFit
from hrat.measurements.sweeps import Ints

__all__ = ["FoundSpreads", "find_spreads"]


@dataclass(frozen=True)
class FoundSpreads:
    """Spreads and their standard errors."""

    spreads: Spreads
    cycle_rel_error: float
    cycle_error: float
    read_error: float


def find_spreads(problems: list[StepFit], now: Spreads, *, read_known: bool) -> FoundSpreads:
    """Noise of steps from the squares of the residuals, and that of readings from how neighbours go together.

    A reading that is too high makes one step too long and the next too short: the covariance of neighbouring steps is
    the variance of the reading between them, with a minus sign.
    """
    read, read_error = now.read_rel, 0.0
    if not read_known:
        read, read_error = _read_noise(problems, now)
    normal, right, blocks = np.zeros((2, 2)), np.zeros(2), []
    # In units in which both parts are of order one, so that the equations are well conditioned.
    typical = float(np.mean(np.concatenate([problem.noise(now)[0][problem.keep] for problem in problems])))
    for problem in problems:
        expected, residual = (part[problem.keep] for part in problem.noise(now))
        noise = read**2 * problem.read_variance[problem.keep]
        weight = (typical**2 / (now.cycle_rel**2 * expected**2 + now.cycle**2 + noise + 1e-12)) ** 2
        basis = np.stack([(expected / typical) ** 2, np.ones_like(expected)])
        _, deviation, before_cut = now.moments(expected)
        excess = (residual**2 - noise) * (before_cut / deviation / typical) ** 2
        normal += (weight * basis) @ basis.T
        right += (weight * basis) @ excess
        blocks.append(_Block(problem.cluster[problem.keep], weight, basis, excess))
    both: Floats = np.asarray(np.linalg.lstsq(normal, right, rcond=1e-9)[0], dtype=np.float64)
    covariance = _sandwich(normal, blocks, both)
    # Together only where the second part is clearly there; else the first alone, or the second if the first is not.
    if both[1] <= 3 * math.sqrt(covariance[1, 1]) or both[0] < 0:
        k = 0 if both[0] >= 0 else 1
        both = np.zeros(2)
        both[k] = max(right[k] / normal[k, k], 0.0)
        alone = np.zeros((2, 2))
        alone[k, k] = normal[k, k]
        covariance = _sandwich(alone, blocks, both)
    rel, absolute = math.sqrt(both[0]), math.sqrt(both[1])
    return FoundSpreads(
        Spreads(rel, absolute * typical, read),
        _error_of_root(rel, covariance[0, 0]),
        _error_of_root(absolute, covariance[1, 1]) * typical,
        read_error,
    )


@dataclass(frozen=True)
class _Block:
    """Squares of residuals and what they are explained by."""

    cluster: Ints
    weight: Floats
    basis: Floats
    """`(2, n)`."""
    excess: Floats


def _sandwich(normal: Floats, blocks: list[_Block], found: Floats) -> Floats:
    """Covariance of the solution, whatever the distribution, and however squares of one cluster go together."""
    meat = np.zeros((2, 2))
    for block in blocks:
        scores = block.weight * block.basis * (block.excess - found @ block.basis)
        by_cluster = np.stack([sums_by(block.cluster, score) for score in scores])
        n = int(np.count_nonzero(by_cluster[0]))
        meat += by_cluster @ by_cluster.T * (n / max(n - 1, 1))
    bread = np.linalg.pinv(normal, rcond=1e-9)
    return np.asarray(bread @ meat @ bread)


def _error_of_root(root: float, variance: float) -> float:
    return math.sqrt(max(variance, 0.0)) / (2 * root) if root > 0 else 0.0


def _read_noise(problems: list[StepFit], now: Spreads) -> tuple[float, float]:
    """Noise of a reading, zero where it cannot be told from none."""
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
    return read, _error_of_root(read, square / weight_sum**2)
