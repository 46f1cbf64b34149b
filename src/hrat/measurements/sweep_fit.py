"""Pulse sweeps as a whole: which way is up, who is stuck, where the window ends, and which model tells the steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hrat.errors import DataError
from hrat.measurements.cleaning import Mask
from hrat.measurements.direction import STEEPEST, DirectionFit, Window, sweep_residuals
from hrat.measurements.jump_fit import JumpFit, fit_jumps
from hrat.measurements.pulse_fit import PulseFit, fit_pulses
from hrat.measurements.reading import Floats
from hrat.measurements.result import MeasuredCurve, SweepResiduals
from hrat.measurements.statistics import Parameter, median_and_error, truncated_moments
from hrat.measurements.sweeps import FEWEST_STEPS, STUCK_BELOW, Readings, Steps, consecutive, steps_of

__all__ = ["SweepFit", "fit_sweeps"]

LOWEST_R_SQUARED = 0.7
LARGEST_MISFIT, CLEAR_MISFIT = 0.5, 0.15
"""Relative distance of mean steps from the model: above the one the model is refused, above the other `auto` prefers
the table."""
STILL_MOVING = 0.25
"""A last step of more than this share of the first: the window may go on."""
MOST_STEPS = 1_000_000
"""Of one direction: with more, some of each device's sweeps are fitted only, and that is said."""
MOST_DRAWN = 3000
"""Sweeps that are put together for a picture."""

NAMES = {True: "set", False: "reset"}


@dataclass
class SweepFit:
    """What the sweeps say."""

    window: Window
    parameters: list[Parameter] = field(default_factory=list)
    choices: dict[str, tuple[Any, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    poor: list[str] = field(default_factory=list)
    residuals: list[SweepResiduals] = field(default_factory=list)
    curves: list[MeasuredCurve] = field(default_factory=list)
    read_noise_rel: float = 0.0


def fit_sweeps(files: list[Readings], model: str) -> SweepFit:
    """Fit everything that pulse sweeps tell.

    Args:
        files: readings of each file; their devices are different ones.
        model: `auto`, `soft_bounds`, `linear_step` or `jump_table`.

    Raises:
        DataError: no pulse moves anything, or too few do.
    """
    readings = _joined(files)
    alive, levels_S = _alive(readings)
    positive_sets = _positive_sets(readings, alive)
    readings, mixed = _one_amplitude(readings)
    sweeps = {up: steps_of(readings, up, positive_sets, alive) for up in (True, False)}
    n_steps = sum(map(len, sweeps.values()))
    too_few = {up: len(steps) for up, steps in sweeps.items() if len(steps) < FEWEST_STEPS}
    sweeps = {up: _thinned(steps) for up, steps in sweeps.items() if up not in too_few}
    if not sweeps:
        raise DataError(
            f"too few pulses to fit: {' and '.join(f'{n} {NAMES[up]}' for up, n in too_few.items())} pulses between "
            f"two readings; expected at least {FEWEST_STEPS} in one direction. Are pulse numbers consecutive?"
        )
    window = _window(sweeps, readings)
    fit = SweepFit(window, notes=mixed)
    if sum(map(len, sweeps.values())) < n_steps - sum(too_few.values()):
        fit.notes.append(
            f"{sum(map(len, sweeps.values())):,} of {n_steps:,} steps were fitted, some sweeps of every device: "
            "more would take time and change nothing"
        )
    n_devices = int(alive.sum())
    _window_parameters(fit, n_devices)
    _pulse_figures(fit, readings, sweeps, positive_sets)
    _stuck(fit, levels_S, alive)
    for up, n in too_few.items():
        fit.notes.append(
            f"{n} {NAMES[up]} pulses are too few to fit (at least {FEWEST_STEPS}); {NAMES[up]} figures are the base's"
        )
    if n_devices == 1:
        fit.notes.append(
            "one device tells nothing of how devices differ: pulses.device_spread_rel is the base's, and the errors of "
            "the figures are those within this device"
        )
    fit.curves += [_curve(up, steps) for up, steps in sweeps.items()]
    _model(fit, sweeps, readings, model)
    return fit


# ---- what is there ---------------------------------------------------------------------------------------------------


def _joined(files: list[Readings]) -> Readings:
    if len(files) == 1:
        return files[0]
    firsts = np.cumsum([0] + [int(part.device.max()) + 1 for part in files[:-1]])
    devices = [part.device + first for part, first in zip(files, firsts, strict=True)]
    widths = [part.width_s for part in files if part.width_s is not None]
    noises = [part.read_noise_rel for part in files if part.read_noise_rel is not None]
    errors = [part.read_noise_error for part in files if part.read_noise_rel is not None]
    return Readings(
        device=np.concatenate(devices),
        cycle=np.concatenate([part.cycle for part in files]),
        pulse=np.concatenate([part.pulse for part in files]),
        voltage_V=np.concatenate([part.voltage_V for part in files]),
        g_S=np.concatenate([part.g_S for part in files]),
        width_s=np.concatenate(widths) if len(widths) == len(files) else None,
        # Of several files that each tell it, the root mean square.
        read_noise_rel=float(np.sqrt(np.mean(np.square(noises)))) if noises else None,
        read_noise_error=float(np.linalg.norm(errors)) / max(len(errors), 1),
        n_reads=float(np.mean([part.n_reads for part in files])),
    )


def _alive(readings: Readings) -> tuple[Mask, Floats]:
    """By device number: whether it moves, and its mean conductance; numbers that do not occur are dead."""
    starts = np.flatnonzero(np.concatenate([[True], np.diff(readings.device) != 0]))
    numbers = readings.device[starts]
    low = np.minimum.reduceat(readings.g_S, starts)
    high = np.maximum.reduceat(readings.g_S, starts)
    counts = np.diff(np.append(starts, len(readings.g_S)))
    moves = high - low
    if not (moves > 0).any():
        raise DataError("no pulse changes any conductance; expected readings after each pulse. Is the column right?")
    alive = np.zeros(int(numbers.max()) + 1, dtype=bool)
    alive[numbers] = moves >= STUCK_BELOW * float(np.median(moves[moves > 0]))
    levels = np.full(len(alive), np.nan)
    levels[numbers] = np.add.reduceat(readings.g_S, starts) / counts
    return alive, levels


def _positive_sets(readings: Readings, alive: Mask) -> bool:
    """Whether positive pulses raise the conductance.

    Raises:
        DataError: pulses of both signs move it the same way, or none moves it.
    """
    follows = consecutive(readings, alive)
    change = np.diff(readings.g_S)
    means = {}
    for sign in (1, -1):
        chosen = change[follows & (np.sign(readings.voltage_V[1:]) == sign)]
        if len(chosen) >= FEWEST_STEPS:
            means[sign] = float(chosen.mean())
    if not means:
        n = int(follows.sum())
        raise DataError(
            f"too few pulses to fit: {n} between two readings of a device and cycle; expected at least {FEWEST_STEPS} "
            "of one polarity, with consecutive pulse numbers"
        )
    if len(means) == 1:
        sign, mean = next(iter(means.items()))
        return (mean > 0) == (sign > 0)
    if means[1] * means[-1] > 0:
        way = "raise" if means[1] > 0 else "lower"
        raise DataError(
            f"pulses of both polarities {way} the conductance on average ({means[1] * 1e6:+.3g} uS by positive, "
            f"{means[-1] * 1e6:+.3g} uS by negative ones); expected one to set and the other to reset. Is the sign "
            "missing in the voltage, or a resistance named as a conductance?"
        )
    return means[1] > 0


def _one_amplitude(readings: Readings) -> tuple[Readings, list[str]]:
    """Without the voltage (and so the steps) of other amplitudes than the most frequent one of each polarity."""
    voltage_V, notes = readings.voltage_V.copy(), []
    for sign in (1, -1):
        mine = np.sign(voltage_V) == sign
        found, counts = np.unique(np.round(voltage_V[mine], 4), return_counts=True)
        if len(found) < 2:
            continue
        usual = found[counts.argmax()]
        others = mine & (np.abs(voltage_V - usual) > 0.01 * abs(usual))
        if others.any():
            notes.append(
                f"pulses of several amplitudes ({', '.join(f'{v:g}' for v in found[:6])} V): those of {usual:g} V were "
                f"fitted, {int(others.sum()):,} left out; how steps grow with the amplitude (efold_V) is not fitted"
            )
            voltage_V[others] = 0.0
    return replace(readings, voltage_V=voltage_V), notes


def _window(sweeps: dict[bool, Steps], readings: Readings) -> Window:
    """Where sweeps end: for each device the median over its sweeps, of these the median over devices."""
    ends = {}
    for up in (True, False):
        if up in sweeps:
            steps = sweeps[up]
            last = np.append(np.diff(steps.sweep) != 0, True)
            ends[up] = _median_by_device(steps.after_S[last], steps.device[last])
        else:
            steps = sweeps[not up]
            first = steps.starts_sweep
            ends[up] = _median_by_device(steps.before_S[first], steps.device[first])
    low, low_error = median_and_error(ends[False])
    high, high_error = median_and_error(ends[True])
    if low >= high:
        raise DataError(
            f"set sweeps end at {high:.3g} S and reset sweeps at {low:.3g} S on average; expected the former above the "
            "latter. Are the signs of the voltages right?"
        )
    # Written with few digits, readings may all be equal: then their rounding is the error.
    some = np.unique(readings.g_S[:: max(len(readings.g_S) // 50_000, 1)])
    rounding = float(np.diff(some).min()) / math.sqrt(12) if len(some) > 1 else 0.0
    return Window(low, high, math.hypot(low_error, rounding), math.hypot(high_error, rounding))


def _thinned(steps: Steps) -> Steps:
    """Not all sweeps where there are very many: their errors are far below all else then, and time is not."""
    part = len(steps) // MOST_STEPS + 1
    if part == 1:
        return steps
    # Every so many sweeps of each device, so that all devices stay.
    first = np.flatnonzero(steps.number == 0)
    device = steps.device[first]
    begins = np.concatenate([[True], np.diff(device) != 0])
    place = np.arange(len(first)) - np.flatnonzero(begins)[np.cumsum(begins) - 1]
    kept = (place % part == 0)[steps.sweep]
    _, sweep = np.unique(steps.sweep[kept], return_inverse=True)
    return Steps(
        steps.device[kept],
        sweep.astype(np.int64),
        steps.number[kept],
        steps.earlier_S[kept],
        steps.before_S[kept],
        steps.after_S[kept],
    )


def _median_by_device(values: Floats, device: Any) -> Floats:
    order = np.argsort(device, kind="stable")
    parts = np.split(values[order], np.flatnonzero(np.diff(device[order])) + 1)
    medians = np.array([np.median(part) for part in parts])
    return medians if len(medians) > 1 else np.asarray(values)


# ---- figures besides the model ---------------------------------------------------------------------------------------


def _window_parameters(fit: SweepFit, n_devices: int) -> None:
    window, basis = fit.window, f"ends of sweeps, median of {n_devices:,} devices"
    fit.parameters += [
        Parameter("device.g_min_S", window.low_S, window.low_error_S, "S", basis),
        Parameter("device.g_max_S", window.high_S, window.high_error_S, "S", basis),
    ]


def _pulse_figures(fit: SweepFit, readings: Readings, sweeps: dict[bool, Steps], positive_sets: bool) -> None:
    for up in sweeps:
        positive = up == positive_sets
        mine = readings.voltage_V > 0 if positive else readings.voltage_V < 0
        amplitude = float(np.median(np.abs(readings.voltage_V[mine])))
        fit.choices[f"pulses.{NAMES[up]}_V"] = (float(f"{amplitude:.6g}"), "the column of voltages")
        if readings.width_s is None:
            continue
        widths, counts = np.unique(readings.width_s[mine], return_counts=True)
        fit.choices[f"pulses.{NAMES[up]}_width_s"] = (float(f"{widths[counts.argmax()]:.6g}"), "the column of widths")
        if counts.max() < 0.99 * counts.sum():
            fit.notes.append(f"{NAMES[up]} pulses have {len(widths)} widths; all were fitted as if they were equal")
    if readings.width_s is None:
        fit.notes.append("there is no column for the width of pulses; the base's widths are kept")
    if not positive_sets:
        fit.notes.append("negative pulses raise the conductance: they are the set pulses, given by their size")


def _stuck(fit: SweepFit, levels_S: Floats, alive: Mask) -> None:
    known = ~np.isnan(levels_S)
    dead = levels_S[known & ~alive]
    if len(dead) == 0:
        return
    n, window = int(known.sum()), fit.window
    low, high = window.low_S + 0.25 * window.width_S, window.high_S - 0.25 * window.width_S
    for name, which in (
        ("stuck_off", dead < low),
        ("stuck_on", dead > high),
        ("stuck_anywhere", (dead >= low) & (dead <= high)),
    ):
        share = float(which.sum()) / n
        if share > 0:
            error = math.sqrt(share * (1 - share) / n)
            fit.parameters.append(Parameter(f"faults.{name}", share, error, "", f"{int(which.sum())} of {n:,} devices"))
        if share > 0 and name != "stuck_anywhere":
            fit.choices[f"faults.{name}_S"] = (float(np.median(dead[which])), "their median conductance")
    fit.notes.append(
        f"{len(dead)} of {n:,} devices hardly move and count as stuck; faults.limit_faults=true lets chips have them"
    )


def _curve(up: bool, steps: Steps) -> MeasuredCurve:
    """Mean and tenths over sweeps of the same length or longer, pulse by pulse."""
    n_sweeps = int(steps.sweep[-1]) + 1
    chosen = steps.sweep % (n_sweeps // MOST_DRAWN + 1) == 0
    number, after, before = steps.number[chosen], steps.after_S[chosen], steps.before_S[chosen]
    begins = before[number == 0]
    order = np.argsort(number, kind="stable")
    parts = np.split(after[order], np.flatnonzero(np.diff(number[order])) + 1)
    parts = [begins] + [part for part in parts if len(part) >= 0.3 * len(begins)]
    return MeasuredCurve(
        NAMES[up],
        tuple(float(part.mean()) for part in parts),
        tuple(float(np.quantile(part, 0.1)) for part in parts),
        tuple(float(np.quantile(part, 0.9)) for part in parts),
    )


# ---- the model -------------------------------------------------------------------------------------------------------


def _model(fit: SweepFit, sweeps: dict[bool, Steps], readings: Readings, model: str) -> None:
    read = None if readings.read_noise_rel is None else (readings.read_noise_rel, readings.read_noise_error)

    def fitted(linear: bool) -> PulseFit:
        return fit_pulses(sweeps, fit.window, linear=linear, read=read, n_reads=readings.n_reads)

    found = fitted(linear=model == "linear_step")
    if found.read_rel > 0:
        how = "repeated readings" if read else "how neighbouring steps go together"
        fit.parameters.append(Parameter("device.read_noise_rel", found.read_rel, found.read_rel_error, "", how))
        fit.read_noise_rel = found.read_rel
    directions = {up: part for up, part in ((True, found.set), (False, found.reset)) if part is not None}
    chosen, table = model, None
    if model == "auto":
        chosen = "soft_bounds"
        if max(part.misfit_rel for part in directions.values()) > CLEAR_MISFIT:
            table = fit_jumps(sweeps, fit.window)
        if table is not None:
            chosen = "jump_table"
            fit.notes.append(
                "mean steps lie clearly off the exponential (by "
                f"{max(part.misfit_rel for part in directions.values()):.0%} on average): a table was made instead"
            )
        elif len(directions) == 2 and all(part.rho < 2 * part.rho_error for part in directions.values()):
            chosen = "linear_step"
            found = fitted(linear=True)
            directions = {up: part for up, part in ((True, found.set), (False, found.reset)) if part is not None}
    fit.choices["pulses.model"] = (chosen, "asked for" if model != "auto" else "found by the fit")
    if chosen == "jump_table":
        _jumps(fit, fit_jumps(sweeps, fit.window) if table is None else table)
    else:
        _steps(fit, sweeps, chosen, found, directions)


def _jumps(fit: SweepFit, table: JumpFit | None) -> None:
    if table is None:
        raise DataError(
            "model jump_table: too few steps; expected at least 20 set and 20 reset pulses that begin in each of 3 "
            "parts of the window. Take soft_bounds or linear_step"
        )
    basis = f"{table.n_steps:,} steps"
    fit.parameters += [
        Parameter("jump_table.g_S", table.g_S, (0.0,) * len(table.g_S), "S", basis),
        Parameter("jump_table.set_S", table.set_S, (), "S", f"{basis}, quantiles"),
        Parameter("jump_table.reset_S", table.reset_S, (), "S", f"{basis}, quantiles"),
    ]
    fit.choices["pulses.device_spread_rel"] = (0.0, "how devices differ is in the quantiles of jump_table")
    for up in (True, False):
        middle = len(table.g_S) // 2
        mean, error = table.mean_S[up][middle], table.mean_error_S[up][middle]
        if error > 0.5 * abs(mean):
            fit.poor.append(
                f"{NAMES[up]}: the mean step in the middle of the window is {mean * 1e6:+.3g} +- {error * 1e6:.2g} uS; "
                "more pulses are needed"
            )
    if fit.read_noise_rel > 0:
        fit.notes.append("the noise of readings is in the quantiles of jump_table too")


def _steps(
    fit: SweepFit, sweeps: dict[bool, Steps], model: str, found: PulseFit, directions: dict[bool, DirectionFit]
) -> None:
    wide = fit.window.width_error_rel
    for up, part in directions.items():
        name = NAMES[up]
        basis = f"{part.n_steps:,} {name} pulses of {len(part.device_log_steps):,} devices"
        n, n_error = part.n_pulses(), part.n_pulses_error(wide)
        fit.parameters.append(Parameter(f"{model}.n_{name}", n, n_error, "", basis))
        if model == "soft_bounds":
            fit.parameters.append(
                Parameter(
                    f"soft_bounds.nonlinearity_{name}", part.nonlinearity, part.nonlinearity_error(wide), "", basis
                )
            )
        longer = float(truncated_moments(np.array([found.cycle_rel]))[0][0])
        rms_S, r_squared = sweep_residuals(sweeps[up], fit.window, part, longer)
        fit.residuals.append(SweepResiduals(name, tuple(rms_S.tolist()), tuple(r_squared.tolist())))
        _judge(fit, name, part, n, n_error, model)
    basis = f"{sum(part.n_steps for part in directions.values()):,} steps"
    fit.parameters.append(Parameter("pulses.cycle_spread_rel", found.cycle_rel, found.cycle_rel_error, "", basis))
    if found.cycle_S > 0:
        fit.parameters.append(Parameter("pulses.cycle_spread_S", found.cycle_S, found.cycle_error_S, "S", basis))
    else:
        fit.choices["pulses.cycle_spread_S"] = (0.0, "no part of the spread is the same for all steps")
    if found.device_rel is not None:
        n = max(len(part.device_log_steps) for part in directions.values())
        fit.parameters.append(
            Parameter("pulses.device_spread_rel", found.device_rel, found.device_rel_error, "", f"{n:,} devices")
        )
        if n < 5:
            fit.notes.append(f"{n} devices tell little of how devices differ")
    if found.cycle_rel > 1.5:
        fit.poor.append(f"steps scatter by {found.cycle_rel:.0%} of their size; a mean step tells little of them")


def _judge(fit: SweepFit, name: str, part: DirectionFit, n: float, n_error: float, model: str) -> None:
    """Reasons to refuse a direction, and what to know of it."""
    if not n_error < 0.5 * n:
        fit.poor.append(f"{name}: n_{name} is {n:.3g} +- {n_error:.2g}, which says too little; more pulses are needed")
    r_squared = fit.residuals[-1].median_r_squared
    if not r_squared >= LOWEST_R_SQUARED:
        fit.poor.append(
            f"{name}: the model explains {r_squared:.0%} of what a sweep does (median R^2; at least "
            f"{LOWEST_R_SQUARED:.0%} expected)"
        )
    if part.misfit_rel > LARGEST_MISFIT:
        fit.poor.append(
            f"{name}: mean steps lie {part.misfit_rel:.0%} off the model along the window; jump_table may tell them"
        )
    elif part.misfit_rel > CLEAR_MISFIT:
        fit.notes.append(f"{name}: mean steps lie {part.misfit_rel:.0%} off the model along the window")
    if model == "soft_bounds":
        error = part.nonlinearity_error(fit.window.width_error_rel)
        if part.rho < -2 * part.rho_error:
            fit.poor.append(
                f"{name}: steps grow along the sweep, so that the nonlinearity is at its bound 0; take linear_step or "
                "jump_table"
            )
        elif part.rho >= STEEPEST:
            fit.notes.append(
                f"{name}: steps fade out within the window, so that the nonlinearity is at its upper bound; larger "
                "ones look alike"
            )
        elif error > max(1.0, 0.5 * part.nonlinearity):
            fit.poor.append(
                f"{name}: nonlinearity_{name} is {part.nonlinearity:.2g} +- {error:.2g}; more pulses are needed"
            )
    curve = next(curve for curve in fit.curves if curve.direction == name)
    steps = np.abs(np.diff(curve.mean_S))
    if len(steps) >= 8 and steps[-3:].mean() > STILL_MOVING * steps[:3].mean():
        fit.notes.append(
            f"{name} sweeps still move when they end, by {steps[-3:].mean() / steps[:3].mean():.0%} of their first "
            "steps: the window is what was measured, the device's own may be wider"
        )
