"""Pulses of the two polarities: which of them sets, and their amplitudes and widths."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from hrat.errors import DataError
from hrat.measurements.fit.sweeps.steps import consecutive
from hrat.measurements.fit.sweeps.sweep_result import NAMES, SweepFit
from hrat.measurements.read import FEWEST_STEPS, Mask, SweepReadings

__all__ = ["one_amplitude", "positive_pulses_set", "pulse_figures"]


def positive_pulses_set(readings: SweepReadings, alive: Mask) -> bool:
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


def one_amplitude(readings: SweepReadings) -> tuple[SweepReadings, list[str]]:
    """Readings without the voltage (and so the steps) of all but the most frequent amplitude of each polarity.

    Returns:
        The readings, and remarks on what was left out.
    """
    voltage_V, notes = readings.voltage_V.copy(), []
    for sign in (1, -1):
        mine = np.sign(voltage_V) == sign
        amplitudes, counts = np.unique(np.round(voltage_V[mine], 4), return_counts=True)
        if len(amplitudes) < 2:
            continue
        usual = amplitudes[counts.argmax()]
        others = mine & (np.abs(voltage_V - usual) > 0.01 * abs(usual))
        if others.any():
            listed = ", ".join(f"{amplitude:g}" for amplitude in amplitudes[:6])
            notes.append(
                f"pulses of several amplitudes ({listed} V): those of {usual:g} V were fitted, "
                f"{int(others.sum()):,} left out; how steps grow with the amplitude (efold_V) is not fitted"
            )
            voltage_V[others] = 0.0
    return replace(readings, voltage_V=voltage_V), notes


def pulse_figures(fit: SweepFit, readings: SweepReadings, directions: Iterable[bool], positive_sets: bool) -> None:
    """Amplitudes and widths of the pulses.

    Args:
        fit: is told the figures.
        readings: readings of all devices.
        directions: those that were fitted (true: set).
        positive_sets: whether positive pulses raise the conductance.
    """
    findings = fit.findings
    for up in directions:
        mine = readings.voltage_V > 0 if up == positive_sets else readings.voltage_V < 0
        amplitude_V = float(np.median(np.abs(readings.voltage_V[mine])))
        findings.choices[f"pulses.{NAMES[up]}_V"] = (float(f"{amplitude_V:.6g}"), "the column of voltages")
        if readings.width_s is None:
            continue
        widths_s, counts = np.unique(readings.width_s[mine], return_counts=True)
        usual_s = float(f"{widths_s[counts.argmax()]:.6g}")
        findings.choices[f"pulses.{NAMES[up]}_width_s"] = (usual_s, "the column of widths")
        if counts.max() < 0.99 * counts.sum():
            findings.notes.append(
                f"{NAMES[up]} pulses have {len(widths_s)} widths; all were fitted as if they were equal"
            )
    if readings.width_s is None:
        findings.notes.append("there is no column for the width of pulses; the base's widths are kept")
    if not positive_sets:
        findings.notes.append("negative pulses raise the conductance: they are the set pulses, given by their size")
