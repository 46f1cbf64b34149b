"""Fit of pulse sweeps: polarity, stuck devices, the ends of the window, and the pulse model."""

from __future__ import annotations

from hrat.errors import DataError
from hrat.measurements.fit.findings import Findings
from hrat.measurements.fit.sweeps.curve import measured_curve
from hrat.measurements.fit.sweeps.devices import moving_devices, stuck_devices
from hrat.measurements.fit.sweeps.model import fit_model
from hrat.measurements.fit.sweeps.polarity import one_amplitude, positive_pulses_set, pulse_figures
from hrat.measurements.fit.sweeps.steps import Steps, steps_of, thinned
from hrat.measurements.fit.sweeps.sweep_result import NAMES, SweepFit
from hrat.measurements.fit.sweeps.window import find_window
from hrat.measurements.read import FEWEST_STEPS, SweepReadings

__all__ = ["fit_sweeps"]


def fit_sweeps(readings: SweepReadings, model: str) -> SweepFit:
    """Fit polarity, stuck devices, window and pulse model to pulse sweeps.

    Args:
        readings: readings of all devices, in the order of time.
        model: `auto`, `soft_bounds`, `linear_step` or `jump_table`.

    Raises:
        DataError: no pulse moves anything, or too few do.
    """
    alive, levels_S = moving_devices(readings)
    positive_sets = positive_pulses_set(readings, alive)
    readings, notes = one_amplitude(readings)
    steps = {up: steps_of(readings, up, positive_sets, alive) for up in (True, False)}
    sweeps = _fitted_steps(steps)
    n_devices = int(alive.sum())
    fit = SweepFit(find_window(sweeps, readings), Findings(notes=notes))
    _window_figures(fit, n_devices)
    _note_thinning(fit.findings, steps, sweeps)
    pulse_figures(fit, readings, sweeps, positive_sets)
    stuck_devices(fit, levels_S, alive)
    for up in steps.keys() - sweeps.keys():
        fit.findings.notes.append(
            f"{len(steps[up])} {NAMES[up]} pulses are too few to fit (at least {FEWEST_STEPS}); {NAMES[up]} figures "
            "are the base's"
        )
    if n_devices == 1:
        fit.findings.notes.append(
            "one device tells nothing of how devices differ: pulses.device_spread_rel is the base's, and the errors of "
            "the figures are those within this device"
        )
    fit.curves += [measured_curve(up, part) for up, part in sweeps.items()]
    fit_model(fit, sweeps, readings, model)
    return fit


def _fitted_steps(steps: dict[bool, Steps]) -> dict[bool, Steps]:
    """The directions with steps enough, and of very many steps a part.

    Raises:
        DataError: neither direction has steps enough.
    """
    sweeps = {up: thinned(part) for up, part in steps.items() if len(part) >= FEWEST_STEPS}
    if not sweeps:
        counts = " and ".join(f"{len(part)} {NAMES[up]}" for up, part in steps.items())
        raise DataError(
            f"too few pulses to fit: {counts} pulses between two readings; expected at least {FEWEST_STEPS} in one "
            "direction. Are pulse numbers consecutive?"
        )
    return sweeps


def _window_figures(fit: SweepFit, n_devices: int) -> None:
    window, basis = fit.window, f"ends of sweeps, median of {n_devices:,} devices"
    fit.findings.add("device.g_min_S", window.low_S, window.low_error_S, "S", basis)
    fit.findings.add("device.g_max_S", window.high_S, window.high_error_S, "S", basis)


def _note_thinning(findings: Findings, steps: dict[bool, Steps], sweeps: dict[bool, Steps]) -> None:
    n_fitted = sum(map(len, sweeps.values()))
    if n_fitted < sum(len(steps[up]) for up in sweeps):
        n_steps = sum(map(len, steps.values()))
        findings.notes.append(
            f"{n_fitted:,} of {n_steps:,} steps were fitted, some sweeps of every device: more would take time and "
            "change nothing"
        )
