"""From steps to the pulse model: step sizes, nonlinearity, and spreads over cycles and devices.

With x the way through the window (0 where the sweep begins, 1 where it ends, for set and reset alike), soft bounds say

    x(k+1) - x(k) = s (1 - rho x(k)) (1 + cycle spread),      s = s_0 exp(device spread)
    rho = 1 - exp(-nonlinearity),      n_pulses = log(1 - rho) / log(1 - s_0 rho)

(`hrat.physics.pulses.soft_bounds`; rho = 0 are equal steps). Noise from cycle to cycle adds up along a sweep, so that
the points of one curve lie all on the same side of the model: the fit is to the steps, whose noise is independent.

* A reading's noise is in the step before it and the one behind it. Regressed on the reading itself, steps would seem
  to shrink faster than they do. x(k) is therefore taken as predicted from the reading before.
* Each device has its own s, for any rho the best one in closed form (variable projection): the optimiser seeks rho. Weights are the inverse variances of the model, found in turns with the fit.
* Steps that may have been cut off by the end of the window are left out, judged by where they begin.
* The error of rho is the larger one of that from the residuals and that from the scatter over devices (or sweeps).
* The spread over devices is a random effect: that of log s, less the errors of the single estimates.

Limits: one amplitude and width for a direction; no trend over cycles; devices differ in s, not in rho nor in the ends of
their windows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares

from hrat.measurements.reading import Floats
from hrat.measurements.statistics import spread_between, sums_by, truncated_moments
from hrat.measurements.sweeps import Ints, Steps

__all__ = ["DirectionFit", "PulseFit", "Window", "fit_pulses", "sweep_residuals"]

BINS = 16
"""Places along the window into which a device's steps are put together for the optimiser."""

FEWEST_IN_BIN = 20
"""Steps from which a part of the window is compared with the model."""

ROUNDS = 8
"""Of fit and weights in turns."""

FAR = 2.5
"""Standard deviations between a step and the end of the window, so that the end has not cut it off."""

WIDEST = 2.0
"""Largest relative spread of steps in the weights, so that first rounds cannot run away."""

FEWEST_CLUSTERS = 8
"""Devices from which errors can be judged by how far devices lie apart."""

STEEPEST = 1 - math.exp(-8.0)
"""Largest rho: beyond a nonlinearity of 8 the end of the way lies within 0.03 % of the window's end."""


@dataclass(frozen=True)
class Window:
    """The window of conductances, S, with the standard errors of its ends."""

    low_S: float
    high_S: float
    low_error_S: float = 0.0
    high_error_S: float = 0.0

    @property
    def width_S(self) -> float:
        """Its width, S."""
        return self.high_S - self.low_S

    @property
    def width_error_rel(self) -> float:
        """Standard error of the width, relative to it."""
        return math.hypot(self.low_error_S, self.high_error_S) / self.width_S

    def way(self, g_S: Floats, up: bool) -> Floats:
        """How far through the window a conductance is, from where sweeps of the direction begin."""
        return (g_S - self.low_S if up else self.high_S - g_S) / self.width_S


@dataclass(frozen=True)
class Spreads:
    """Noise of one step."""

    cycle_rel: float = 0.3
    cycle: float = 0.0
    """The part that all steps have alike, in units of the window."""
    read_rel: float = 0.0
    """Of a reading, relative to its conductance."""

    def variance(self, step: Floats, read_variance: Floats) -> Floats:
        """Of a measured step, in units of the window."""
        return self.cycle_rel**2 * step**2 + self.cycle**2 + self.read_rel**2 * read_variance

    def moments(self, step: Floats) -> tuple[Floats, Floats, Floats]:
        """Of a step that never works backwards: mean over `step`, deviation over `step`, and that before the cut."""
        s = np.hypot(self.cycle_rel, self.cycle / np.maximum(step, 1e-9))
        return *truncated_moments(s), np.maximum(s, 1e-3)


@dataclass(frozen=True)
class DirectionFit:
    """Set or reset."""

    up: bool
    rho: float
    rho_error: float
    log_step: float
    """log s_0."""
    log_step_error: float
    log_step_slope: float
    """By how much log s_0 grows with rho along the best fits."""
    device_log_steps: Floats
    device_errors: Floats
    n_steps: int
    """Steps that were fitted."""
    misfit_rel: float
    """How far mean steps lie off the model along the window, relative to it, beyond their errors (rms)."""

    @property
    def nonlinearity(self) -> float:
        """`nonlinearity_set` or `nonlinearity_reset`."""
        return -math.log1p(-min(max(self.rho, 0.0), STEEPEST))

    def nonlinearity_error(self, width_error_rel: float) -> float:
        """Its standard error."""
        rho = min(self.rho, STEEPEST)
        return math.hypot(self.rho_error, rho * width_error_rel) / (1 - rho)

    def n_pulses(self, rho: float | None = None, log_step: float | None = None) -> float:
        """Pulses from one end of the window to the other."""
        rho = min(max(self.rho if rho is None else rho, 0.0), STEEPEST)
        step = math.exp(self.log_step if log_step is None else log_step)
        if rho < 1e-9:
            return 1 / step
        return math.log1p(-rho) / math.log1p(-min(step * rho, 1 - 1e-12))

    def n_pulses_error(self, width_error_rel: float) -> float:
        """Its standard error, by the slope of log N along both parameters."""
        n, h = math.log(self.n_pulses()), 1e-4
        by_step = (math.log(self.n_pulses(log_step=self.log_step + h)) - n) / h
        down = self.rho - h
        along = n - math.log(self.n_pulses(rho=down, log_step=self.log_step - h * self.log_step_slope))
        return self.n_pulses() * math.hypot(by_step * self.log_step_error, along / h * self.rho_error, width_error_rel)


@dataclass(frozen=True)
class PulseFit:
    """Both directions together; a direction that was not measured is None."""

    set: DirectionFit | None
    reset: DirectionFit | None
    cycle_rel: float
    cycle_rel_error: float
    cycle_S: float
    cycle_error_S: float
    device_rel: float | None
    """None where one device alone was measured."""
    device_rel_error: float
    read_rel: float
    read_rel_error: float


def fit_pulses(
    sweeps: dict[bool, Steps], window: Window, *, linear: bool, read: tuple[float, float] | None, n_reads: float = 1.0
) -> PulseFit:
    """Fit the steps of one or both directions.

    Args:
        sweeps: steps by direction (true: set).
        window: the ends of the window.
        linear: equal steps, rho = 0.
        read: relative noise of a single reading and its error, where it was measured; else it is found from how
            neighbouring steps go together.
        n_reads: readings that were averaged into one.
    """
    problems = {up: _Problem(steps, window, up) for up, steps in sweeps.items()}
    spreads = Spreads(read_rel=read[0] / math.sqrt(n_reads) if read else 0.0)
    for _ in range(ROUNDS):
        for problem in problems.values():
            problem.fit(spreads, linear)
        found = _spreads(list(problems.values()), spreads, read_known=read is not None)
        spreads = replace(found.spreads, cycle_rel=min(found.spreads.cycle_rel, WIDEST))
    directions = {up: problem.result() for up, problem in problems.items()}
    groups = [(fit.device_log_steps, fit.device_errors) for fit in directions.values()]
    several = any(len(values) > 1 for values, _ in groups)
    device_rel, device_error, means = spread_between(groups)
    for up, (mean, error) in zip(list(directions), means, strict=True):
        directions[up] = replace(directions[up], log_step=mean, log_step_error=error)
    return PulseFit(
        set=directions.get(True),
        reset=directions.get(False),
        cycle_rel=found.spreads.cycle_rel,
        cycle_rel_error=found.cycle_rel_error,
        cycle_S=found.spreads.cycle * window.width_S,
        cycle_error_S=found.cycle_error * window.width_S,
        device_rel=device_rel if several else None,
        device_rel_error=device_error,
        read_rel=read[0] if read else found.spreads.read_rel,
        read_rel_error=read[1] if read else found.read_error,
    )


class _Problem:
    """The steps of one direction, with what is fitted to them so far."""

    def __init__(self, steps: Steps, window: Window, up: bool) -> None:
        self.steps, self.up = steps, up
        self.earlier = window.way(steps.earlier_S, up)
        before, after = window.way(steps.before_S, up), window.way(steps.after_S, up)
        self.change = after - before
        self.read_variance = (steps.before_S**2 + steps.after_S**2) / window.width_S**2
        """Of a step whose readings have a noise of one, in units of the window."""
        self.middle_square = (steps.before_S / window.width_S) ** 2
        self.rho, self.rho_error = 0.0, 0.0
        inner = (before > 0.05) & (before < 0.7)
        chosen = inner if inner.sum() > 10 else np.ones(len(steps), dtype=bool)
        typical = max(float(np.mean(self.change[chosen])), 1e-9)
        self.step = np.full(steps.n_devices, typical)
        """s of each device."""
        self.step_error = np.zeros(steps.n_devices)
        self.slope = 0.0
        self.keep = np.ones(len(steps), dtype=bool)
        self.before = before
        self.cluster = steps.device if steps.n_devices >= FEWEST_CLUSTERS else steps.sweep
        """What may go together beyond the model: a device's steps, or where there are few, those of a sweep."""
        self.longer = np.ones(len(steps))
        """Mean of a step over that of the Gaussian behind it."""
        self.place = before

    def predicted(self, place: Floats | None = None) -> Floats:
        """Expected steps, from where they are predicted to begin unless another place is given."""
        return self.step[self.steps.device] * (1 - self.rho * (self.place if place is None else place))

    def noise(self, spreads: Spreads) -> tuple[Floats, Floats]:
        """Expected steps from where they were read to begin, and what is added to them.

        From the predicted place the noise of the step before would be in it too.
        """
        expected = np.maximum(self.predicted(self.before), 1e-9)
        return expected, self.change - expected * spreads.moments(expected)[0]

    def fit(self, spreads: Spreads, linear: bool) -> None:
        """One round: where steps begin, which are used, their weights; then rho and each device's s."""
        s = self.step[self.steps.device]
        onward = np.maximum(s * (1 - self.rho * self.earlier), 0.0) * self.longer
        self.place = np.where(self.steps.starts_sweep, self.earlier, np.minimum(self.earlier + onward, 1.0))
        expected = np.maximum(self.predicted(), 1e-6 * s)
        variance = spreads.variance(expected, self.read_variance) + 1e-12
        # Up to where the step itself, or the one that led to its beginning, may have met the end of the window.
        self.keep = (self.place + expected + FAR * np.sqrt(2 * variance) < 1.0) | (self.steps.starts_sweep & (s >= 0.5))
        if self.keep.sum() < 3:
            self.keep = self.place < np.quantile(self.place, 0.5)
        # A step that never works backwards is longer on average than the Gaussian behind it.
        self.longer = spreads.moments(expected)[0]
        weight = np.where(self.keep, self.longer**2 / variance, 0.0)
        columns = self._binned(weight)
        if not linear:
            found = least_squares(
                lambda rho: _residuals(rho[0], columns)[0], [self.rho], jac=lambda rho: _slopes(rho[0], columns),
                bounds=([-20.0], [1.2]), x_scale=[0.1],
            )  # fmt: skip
            self.rho = float(found.x[0])
        _, step, square = _residuals(self.rho, columns)
        usual = float(np.median(step[step > 0])) if (step > 0).any() else 1e-9
        self.step = np.clip(np.where(step > 0, step, usual), usual / 30, usual * 30)
        self._errors(columns, square, weight, linear)

    def _binned(self, weight: Floats) -> _Bins:
        """The steps of each device put together by where they begin: `(devices, BINS)` each."""
        shape = (self.steps.n_devices, BINS)
        place = np.clip((self.place * BINS).astype(np.int64), 0, BINS - 1)
        index = self.steps.device * BINS + place
        size = shape[0] * BINS
        total = sums_by(index, weight, size)
        safe = np.where(total > 0, total, 1.0)
        where = sums_by(index, weight * self.place, size) / safe
        change = sums_by(index, weight * self.change / self.longer, size) / safe
        return _Bins(total.reshape(shape), where.reshape(shape), change.reshape(shape))

    def _errors(self, columns: _Bins, square: Floats, weight: Floats, linear: bool) -> None:
        """Standard errors of rho and of each s."""
        device = self.steps.device
        residual = self.change / self.longer - self.predicted()
        used = max(int(self.keep.sum()), 2)
        # Neighbouring steps share a reading: what they have in common must not count as information, hence sweeps.
        overdispersion = float((weight * residual**2).sum() / used)
        self.step_error = np.sqrt(overdispersion / np.maximum(square, 1e-300))
        if linear:
            self.rho_error, self.slope = 0.0, 0.0
            return
        h = 1e-4
        ahead, behind = (_residuals(self.rho + sign * h, columns)[1] for sign in (1, -1))
        self.slope = float(np.nanmean((np.log(np.abs(ahead)) - np.log(np.abs(behind))) / (2 * h)))
        jacobian = _slopes(self.rho, columns)[:, 0]
        information = float(jacobian @ jacobian)
        if information < 1e-12:
            self.rho_error = math.inf
            return
        # d residual / d rho of a single step: s x, less what s of its device takes up.
        u = 1 - self.rho * self.place
        along = sums_by(device, weight * u * self.place, len(self.step)) / np.maximum(square, 1e-300)
        lever = self.step[device] * (self.place - u * along[device])
        score = weight * residual * lever
        by_cluster = _clustered(sums_by(self.cluster, score))
        self.rho_error = math.sqrt(max(overdispersion / information, by_cluster / information**2))

    def misfit_rel(self) -> float:
        """How far mean steps lie off the model: over BINS parts of the window, each with its error taken off."""
        place = np.clip((self.place[self.keep] * BINS).astype(np.int64), 0, BINS - 1)
        expected = self.predicted()[self.keep]
        residual = self.change[self.keep] / self.longer[self.keep] - expected
        count = np.maximum(sums_by(place, None, BINS), 1)
        mean = sums_by(place, residual, BINS) / count
        error = sums_by(place, residual**2, BINS) / count**2
        model = sums_by(place, expected, BINS) / count
        enough = (count >= FEWEST_IN_BIN) & (model > 0)
        if not enough.any():
            return 0.0
        return float(np.sqrt(np.mean(np.maximum(mean**2 - 4 * error, 0.0)[enough] / model[enough] ** 2)))

    def result(self) -> DirectionFit:
        """What was found; the mean over devices is not in it yet."""
        return DirectionFit(
            up=self.up,
            rho=self.rho,
            rho_error=self.rho_error,
            log_step=0.0,
            log_step_error=0.0,
            log_step_slope=self.slope,
            device_log_steps=np.log(self.step),
            device_errors=self.step_error / self.step,
            misfit_rel=self.misfit_rel(),
            n_steps=int(self.keep.sum()),
        )


@dataclass(frozen=True)
class _Bins:
    weight: Floats
    place: Floats
    change: Floats


def _residuals(rho: float, bins: _Bins) -> tuple[Floats, Floats, Floats]:
    """Weighted residuals for the best s of each device; those s; and the sum of squares that they rest on."""
    u = 1 - rho * bins.place
    square = (bins.weight * u**2).sum(1)
    step = (bins.weight * u * bins.change).sum(1) / np.maximum(square, 1e-300)
    return (np.sqrt(bins.weight) * (bins.change - step[:, None] * u)).ravel(), step, square


def _slopes(rho: float, bins: _Bins) -> Floats:
    """Slopes of the residuals by rho, as Kaufman has it: the part that no change of s could take up."""
    u = 1 - rho * bins.place
    _, step, square = _residuals(rho, bins)
    along = (bins.weight * u * bins.place).sum(1) / np.maximum(square, 1e-300)
    return np.asarray((np.sqrt(bins.weight) * step[:, None] * (bins.place - u * along[:, None])).ravel()[:, None])


def _clustered(scores: Floats) -> float:
    """Variance of a sum of scores, of which those of one cluster may go together."""
    n = int(np.count_nonzero(scores))
    return float((scores**2).sum()) * n / max(n - 1, 1)


# ---- spreads ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _FoundSpreads:
    spreads: Spreads
    cycle_rel_error: float
    cycle_error: float
    read_error: float


def _spreads(problems: list[_Problem], now: Spreads, *, read_known: bool) -> _FoundSpreads:
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
    return _FoundSpreads(
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


def _read_noise(problems: list[_Problem], now: Spreads) -> tuple[float, float]:
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


def sweep_residuals(steps: Steps, window: Window, fit: DirectionFit, mean_factor: float = 1.0) -> tuple[Floats, Floats]:
    """For each sweep the root mean square of data minus model, S, and R^2, the model starting where the data does.

    Args:
        steps: of one direction.
        window: the ends of the window.
        fit: of that direction.
        mean_factor: mean of a step that never works backwards, over the mean of the Gaussian behind it.
    """
    sweep, number = steps.sweep, steps.number
    s = np.exp(fit.device_log_steps)[steps.device] * mean_factor
    rho = min(max(fit.rho, 1e-9), STEEPEST)
    begin = window.way(steps.before_S, fit.up)[np.flatnonzero(number == 0)][sweep]
    end = 1 / rho
    model = np.minimum(end + (begin - end) * (1 - np.minimum(s * rho, 1.0)) ** (number + 1), 1.0)
    data = window.way(steps.after_S, fit.up)
    count = sums_by(sweep)
    error = sums_by(sweep, (data - model) ** 2)
    mean = sums_by(sweep, data) / count
    total = sums_by(sweep, (data - mean[sweep]) ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        r_squared = 1 - error / total
    return np.sqrt(error / count) * window.width_S, np.where(count > 2, r_squared, np.nan)
