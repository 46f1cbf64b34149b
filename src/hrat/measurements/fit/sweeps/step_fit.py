"""One direction's steps and the fit to them; the why of it stands at the head of `pulse_fit`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from hrat.measurements.fit.statistics import sums_by, truncated_moments
from hrat.measurements.fit.sweeps.direction import DirectionFit
from hrat.measurements.fit.sweeps.steps import Steps
from hrat.measurements.fit.sweeps.window import Window
from hrat.measurements.read import Floats

__all__ = ["Spreads", "StepFit"]

BINS = 16
"""Places along the window into which a device's steps are put together for the optimiser."""

FEWEST_IN_BIN = 20
"""Steps from which a part of the window is compared with the model."""

FAR = 2.5
"""Standard deviations between a step and the end of the window, so that the end has not cut it off."""

FEWEST_CLUSTERS = 8
"""Devices from which errors can be judged by how far devices lie apart."""


@dataclass(frozen=True)
class Spreads:
    """Noise of one step."""

    cycle_rel: float = 0.3
    cycle: float = 0.0
    """Part that is equal for all steps, in units of the window."""
    read_rel: float = 0.0
    """Noise of a reading relative to its conductance."""

    def variance(self, step: Floats, read_variance: Floats) -> Floats:
        """Variance of a measured step, in units of the window."""
        return self.cycle_rel**2 * step**2 + self.cycle**2 + self.read_rel**2 * read_variance

    def moments(self, step: Floats) -> tuple[Floats, Floats, Floats]:
        """Mean, standard deviation, and that before the cut, over `step`, of a step that never works backwards."""
        # One number for all steps, unless a part of the spread is the same for all of them.
        alike = np.array([self.cycle_rel])
        s = alike if self.cycle == 0 else np.hypot(self.cycle_rel, self.cycle / np.maximum(step, 1e-9))
        return *truncated_moments(s), np.maximum(s, 1e-3)


class StepFit:
    """Steps of one direction, with what is fitted to them so far."""

    def __init__(self, steps: Steps, window: Window, up: bool) -> None:
        self.steps, self.up = steps, up
        self.earlier = window.position(steps.earlier_S, up)
        before, after = window.position(steps.before_S, up), window.position(steps.after_S, up)
        self.change = after - before
        self.read_variance = (steps.before_S**2 + steps.after_S**2) / window.width_S**2
        """Variance of a step whose readings have a relative noise of one, in units of the window."""
        self.middle_square = (steps.before_S / window.width_S) ** 2
        self.rho, self.rho_error = 0.0, 0.0
        inner = (before > 0.05) & (before < 0.7)
        chosen = inner if inner.sum() > 10 else np.ones(len(steps), dtype=bool)
        typical = max(float(np.mean(self.change[chosen])), 1e-9)
        self.step = np.full(steps.n_devices, typical)
        """Step of each device at the beginning of the window: its s."""
        self.step_error = np.zeros(steps.n_devices)
        self.slope = 0.0
        self.keep = np.ones(len(steps), dtype=bool)
        self.before = before
        self.cluster = steps.device if steps.n_devices >= FEWEST_CLUSTERS else steps.sweep
        """Cluster within which residuals may be correlated: the device, or the sweep where there are few devices."""
        self.longer = np.ones(1)
        """Ratio of the mean step to that of the Gaussian behind it."""
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
        bins = self._binned(weight)
        if not linear:
            self.rho = _best_rho(self.rho, bins)
        _, step, square = _residuals(self.rho, bins)
        usual = float(np.median(step[step > 0])) if (step > 0).any() else 1e-9
        self.step = np.clip(np.where(step > 0, step, usual), usual / 30, usual * 30)
        self._errors(bins, square, weight, linear)

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

    def _errors(self, bins: _Bins, square: Floats, weight: Floats, linear: bool) -> None:
        """Standard errors of rho and of each s."""
        device = self.steps.device
        residual = self.change / self.longer - self.predicted()
        used = max(int(self.keep.sum()), 2)
        # Neighbouring steps share a reading: what they have in common must not count as information, hence sweeps.
        overdispersion = float((weight * residual**2).sum() / used)
        self.step_error = np.sqrt(overdispersion / np.maximum(square, 1e-12))
        if linear:
            self.rho_error, self.slope = 0.0, 0.0
            return
        h = 1e-4
        ahead, behind = (_residuals(self.rho + sign * h, bins)[1] for sign in (1, -1))
        sound = (ahead > 0) & (behind > 0)
        self.slope = float(np.mean(np.log(ahead[sound] / behind[sound]))) / (2 * h) if sound.any() else 0.0
        jacobian = _slopes(self.rho, bins)[:, 0]
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
        """Distance of mean steps from the model over BINS parts of the window, with their errors taken off (rms)."""
        place = np.clip((self.place[self.keep] * BINS).astype(np.int64), 0, BINS - 1)
        expected = self.predicted()[self.keep]
        residual = (self.change / self.longer)[self.keep] - expected
        count = np.maximum(sums_by(place, None, BINS), 1)
        mean = sums_by(place, residual, BINS) / count
        error = sums_by(place, residual**2, BINS) / count**2
        model = sums_by(place, expected, BINS) / count
        enough = (count >= FEWEST_IN_BIN) & (model > 0)
        if not enough.any():
            return 0.0
        return float(np.sqrt(np.mean(np.maximum(mean**2 - 4 * error, 0.0)[enough] / model[enough] ** 2)))

    def result(self) -> DirectionFit:
        """The fit so far; the mean over devices is not in it yet."""
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


def _best_rho(rho: float, bins: _Bins) -> float:
    """Value of rho with the least sum of squares, each device having its best s."""
    solution = least_squares(
        lambda x: _residuals(x[0], bins)[0], [rho], jac=lambda x: _slopes(x[0], bins),
        bounds=([-20.0], [1.2]), x_scale=[0.1],
    )  # fmt: skip
    return float(solution.x[0])


def _residuals(rho: float, bins: _Bins) -> tuple[Floats, Floats, Floats]:
    """Weighted residuals for the best s of each device; those s; and the sum of squares that they rest on."""
    u = 1 - rho * bins.place
    square = (bins.weight * u**2).sum(1)
    step = (bins.weight * u * bins.change).sum(1) / np.maximum(square, 1e-300)
    return (np.sqrt(bins.weight) * (bins.change - step[:, None] * u)).ravel(), step, square


def _slopes(rho: float, bins: _Bins) -> Floats:
    """Derivatives of the residuals by rho after Kaufman: the part that no change of s could take up."""
    u = 1 - rho * bins.place
    _, step, square = _residuals(rho, bins)
    along = (bins.weight * u * bins.place).sum(1) / np.maximum(square, 1e-300)
    return np.asarray((np.sqrt(bins.weight) * step[:, None] * (bins.place - u * along[:, None])).ravel()[:, None])


def _clustered(scores: Floats) -> float:
    """Variance of the sum of the scores of clusters, those of one cluster being correlated."""
    n = int(np.count_nonzero(scores))
    return float((scores**2).sum()) * n / max(n - 1, 1)
