"""Devices that pulses move, and those that are stuck."""

from __future__ import annotations

import math

import numpy as np

from hrat.errors import DataError
from hrat.measurements.fit.sweeps.sweep_result import SweepFit
from hrat.measurements.read import Floats, Mask, SweepReadings

__all__ = ["moving_devices", "stuck_devices"]

STUCK_BELOW = 0.1
"""A device whose conductance moves by less than this share of what is usual is stuck."""


def moving_devices(readings: SweepReadings) -> tuple[Mask, Floats]:
    """Whether each device moves, and its mean conductance, S, by device number; numbers that do not occur do not move.

    Raises:
        DataError: no device moves.
    """
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


def stuck_devices(fit: SweepFit, levels_S: Floats, alive: Mask) -> None:
    """Shares of the devices that are stuck, low, high or in between.

    Args:
        fit: is told the figures.
        levels_S: mean conductance by device number, not a number where there is no such device.
        alive: whether each device moves, by device number.
    """
    measured = ~np.isnan(levels_S)
    dead_S = levels_S[measured & ~alive]
    if len(dead_S) == 0:
        return
    n, window, findings = int(measured.sum()), fit.window, fit.findings
    low_S, high_S = window.low_S + 0.25 * window.width_S, window.high_S - 0.25 * window.width_S
    for name, which in (
        ("stuck_off", dead_S < low_S),
        ("stuck_on", dead_S > high_S),
        ("stuck_anywhere", (dead_S >= low_S) & (dead_S <= high_S)),
    ):
        n_stuck = int(which.sum())
        if n_stuck == 0:
            continue
        share = n_stuck / n
        findings.add(f"faults.{name}", share, math.sqrt(share * (1 - share) / n), "", f"{n_stuck} of {n:,} devices")
        if name != "stuck_anywhere":
            findings.choices[f"faults.{name}_S"] = (float(np.median(dead_S[which])), "their median conductance")
    findings.notes.append(
        f"{len(dead_S)} of {n:,} devices hardly move and count as stuck; faults.limit_faults=true lets chips have them"
    )
