"""Pulse sweeps: the rows of a file in the order of time, repeated readings averaged.

A row is a reading after the pulse that it names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrat.errors import DataError
from hrat.measurements.read.arrays import Floats, Ints
from hrat.measurements.read.cleaning import Cleaning

__all__ = ["FEWEST_STEPS", "SweepReadings", "joined_sweeps", "sweep_readings_in_order"]

Signs = NDArray[np.int8]

FEWEST_STEPS = 30
"""Fewest pulses of one direction from which anything is judged."""

RUNS_DOWN = 0.7
"""Share of neighbouring rows whose pulse number falls, above which they are numbered against time."""

DEVICES_LOOKED_AT = 50
"""Number of devices by which the numbering of pulses is judged."""


@dataclass(frozen=True)
class SweepReadings:
    """Conductances in the order in which they were measured; each array `(n,)`."""

    device: Ints
    cycle: Ints
    pulse: Ints
    voltage_V: Floats
    g_S: Floats
    width_s: Floats | None
    read_noise_rel: float | None
    """Relative noise of a single reading; None where no device was read several times between two pulses."""
    read_noise_error: float
    n_reads: float
    """Mean number of readings that were averaged into one."""


def sweep_readings_in_order(columns: dict[str, Floats], report: Cleaning) -> SweepReadings:
    """The rows of a file in the order of time, repeated readings averaged.

    Args:
        columns: cleaned rows of a pulse-sweep file; whole numbers in `pulse`.
        report: is told what was put in order, and what was found twice.

    Raises:
        DataError: pulse numbers run down or are no whole numbers.
    """
    n = len(columns["pulse"])
    if "device" not in columns:
        report.notes.append("there is no column for the device; all rows are taken as those of one device")
    device = columns.get("device", np.zeros(n)).astype(np.int64)
    pulse = _whole(columns["pulse"], "pulse numbers", report.file)
    sign = _filled_back(np.sign(columns["voltage"]).astype(np.int8))
    cycle, numbered = _cycles(columns, device, pulse, sign, report)
    if numbered and _restarts(device, cycle, pulse, sign):
        cycle = 2 * cycle + (sign != sign[0])  # set and reset count for themselves: they are two runs
    _refuse_running_down(device, cycle, pulse, sign, report.file)
    order = _order(device, cycle, pulse)
    g_S, voltage_V, width_s = columns["conductance"], columns["voltage"], columns.get("width")
    if order is not None:
        report.notes.append("rows were out of order; they were sorted by device, cycle and pulse number")
        device, cycle, pulse, g_S, voltage_V = device[order], cycle[order], pulse[order], g_S[order], voltage_V[order]
        width_s = None if width_s is None else width_s[order]
    return _without_repeats(SweepReadings(device, cycle, pulse, voltage_V, g_S, width_s, None, 0.0, 1.0), report)


def joined_sweeps(files: list[SweepReadings]) -> SweepReadings:
    """The readings of several files, whose devices are different ones."""
    if len(files) == 1:
        return files[0]
    firsts = np.cumsum([0] + [int(part.device.max()) + 1 for part in files[:-1]])
    widths = [part.width_s for part in files if part.width_s is not None]
    noises = [part.read_noise_rel for part in files if part.read_noise_rel is not None]
    errors = [part.read_noise_error for part in files if part.read_noise_rel is not None]
    return SweepReadings(
        device=np.concatenate([part.device + first for part, first in zip(files, firsts, strict=True)]),
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


def _whole(values: Floats, what: str, where: str) -> Ints:
    whole = np.rint(values)
    if not np.array_equal(whole, values):
        example = values[whole != values][0]
        raise DataError(f"{where}: expected whole {what}, got {example:g}; is the column the right one?")
    return whole.astype(np.int64)


def _filled_back(sign: Signs) -> Signs:
    """A row without voltage is a reading ahead of the pulses that follow."""
    places = np.where(sign != 0, np.arange(len(sign)), len(sign) - 1)
    return sign[np.minimum.accumulate(places[::-1])[::-1]]


def _cycles(columns: dict[str, Floats], device: Ints, pulse: Ints, sign: Signs, report: Cleaning) -> tuple[Ints, bool]:
    """The cycle of each row, and whether the file names it."""
    if "cycle" in columns:
        return _whole(columns["cycle"], "cycle numbers", report.file), True
    _refuse_running_down(device, np.zeros_like(device), pulse, sign, report.file)
    again = np.concatenate([[False], (np.diff(pulse) < 0) & (np.diff(device) == 0)])
    if again.any():
        report.notes.append("there is no column for the cycle; a new one begins where the pulse number falls")
    return np.cumsum(again), False


def _restarts(device: Ints, cycle: Ints, pulse: Ints, sign: Signs) -> bool:
    """Whether pulses of the two polarities are numbered apart: the same number stands for one of each in a cycle."""
    some = device < DEVICES_LOOKED_AT
    numbers = pulse[some] - pulse.min()
    keys = (device[some] * (int(cycle.max()) + 1) + cycle[some]) * (int(numbers.max(initial=0)) + 1) + numbers
    positive, negative = (np.unique(keys[sign[some] == way]) for way in (1, -1))
    twice = len(np.intersect1d(positive, negative, assume_unique=True))
    return twice > 0.5 * min(len(positive), len(negative)) > 0


def _refuse_running_down(device: Ints, cycle: Ints, pulse: Ints, sign: Signs, where: str) -> None:
    """Refuse sweeps that are numbered against time; rows in no order (half of them fall) can be sorted."""
    together = (np.diff(device) == 0) & (np.diff(cycle) == 0) & (np.diff(sign) == 0)
    for direction in (1, -1):
        pairs = together & (sign[1:] == direction)
        down = pairs & (np.diff(pulse) < 0)
        if pairs.sum() < FEWEST_STEPS or down.sum() <= RUNS_DOWN * pairs.sum():
            continue
        place = int(np.flatnonzero(down)[0])
        raise DataError(
            f"{where}: pulse numbers run down (as from {pulse[place]} to {pulse[place + 1]}); expected them to count "
            "pulses in the order in which they were given, 1, 2, 3, ..., in reset sweeps too. Number them so"
        )


def _order(device: Ints, cycle: Ints, pulse: Ints) -> Ints | None:
    """Order by device, cycle and pulse; None where the rows are in it already."""
    keys = (device, cycle, pulse)
    ahead = np.ones(len(device) - 1, dtype=bool)
    tied = np.ones(len(device) - 1, dtype=bool)
    for key in keys:
        ahead &= ~tied | (np.diff(key) >= 0)
        tied &= np.diff(key) == 0
    return None if ahead.all() else np.lexsort(keys[::-1])


def _without_repeats(readings: SweepReadings, report: Cleaning) -> SweepReadings:
    """Rows of the same pulse: doubles if all of them are equal, else repeated readings, which become their mean."""
    same = np.concatenate(
        [[False], (np.diff(readings.device) == 0) & (np.diff(readings.cycle) == 0) & (np.diff(readings.pulse) == 0)]
    )
    if not same.any():
        return readings
    first = ~same
    group = np.cumsum(first) - 1
    count = np.bincount(group)
    mean_S = np.bincount(group, readings.g_S) / count
    noise, error, n_reads = None, 0.0, 1.0
    if np.array_equal(readings.g_S[same], readings.g_S[np.flatnonzero(same) - 1]):
        report.drop("the same row stands there twice", int(same.sum()))
    else:
        degrees = len(readings.g_S) - len(count)
        variance = float((((readings.g_S - mean_S[group]) / mean_S[group]) ** 2).sum() / degrees)
        noise, error = variance**0.5, (variance / (2 * degrees)) ** 0.5
        n_reads = float(count.mean())
        report.notes.append(f"{int(same.sum()):,} rows repeat the reading of a pulse; the mean was taken")
    width_s = readings.width_s
    return SweepReadings(
        readings.device[first], readings.cycle[first], readings.pulse[first], readings.voltage_V[first], mean_S,
        None if width_s is None else width_s[first], noise, error, n_reads,
    )  # fmt: skip
