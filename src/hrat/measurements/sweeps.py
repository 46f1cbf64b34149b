"""Pulse sweeps: rows of a file become steps, each the change of a device's conductance by one pulse.

A row is a reading after the pulse that it names. Two rows of a device and cycle whose pulse numbers follow each other
make one step; the sign of the second row's voltage says which way it was meant to go.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrat.errors import DataError
from hrat.measurements.cleaning import Cleaning, Mask
from hrat.measurements.reading import Floats

__all__ = ["Ints", "Readings", "Steps", "readings_in_order", "steps_of"]

Ints = NDArray[np.int64]
Signs = NDArray[np.int8]

FEWEST_STEPS = 30
"""Of one direction: with fewer, nothing is fitted."""

RUNS_DOWN = 0.7
"""Share of neighbouring rows whose pulse number falls, above which they are numbered against time."""

DEVICES_LOOKED_AT = 50
"""From which it is judged how the file numbers its pulses."""

STUCK_BELOW = 0.1
"""A device whose conductance moves by less than this share of what is usual is stuck."""


@dataclass(frozen=True)
class Readings:
    """Conductances in the order in which they were measured; each array `(n,)`."""

    device: Ints
    cycle: Ints
    pulse: Ints
    voltage_V: Floats
    g_S: Floats
    width_s: Floats | None
    read_noise_rel: float | None
    """Of a single reading, where devices were read several times between two pulses."""
    read_noise_error: float
    n_reads: float
    """Readings that were averaged into one, on average."""


@dataclass(frozen=True)
class Steps:
    """Changes by single pulses of one direction; each array `(n,)`."""

    device: Ints
    """0, 1, 2, ... over the devices that are not stuck."""
    sweep: Ints
    """Which run of pulses without a change of direction the step belongs to."""
    number: Ints
    """Which step of its sweep it is, from 0."""
    earlier_S: Floats
    """The reading before the one before the pulse; that one itself where the sweep begins with it."""
    before_S: Floats
    after_S: Floats

    def __len__(self) -> int:
        """How many there are."""
        return len(self.device)

    @property
    def n_devices(self) -> int:
        """How many devices they come from, at most."""
        return int(self.device.max()) + 1

    @property
    def starts_sweep(self) -> Mask:
        """Whether a step is the first of its sweep."""
        return np.asarray(self.number == 0)


def readings_in_order(columns: dict[str, Floats], report: Cleaning) -> Readings:
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
    return _without_repeats(Readings(device, cycle, pulse, voltage_V, g_S, width_s, None, 0.0, 1.0), report)


def consecutive(readings: Readings, alive: Mask) -> Mask:
    """For each reading but the first whether it follows on the one before by one pulse, on a device that moves."""
    follows: Mask = (
        (np.diff(readings.device) == 0)
        & (np.diff(readings.cycle) == 0)
        & (np.diff(readings.pulse) == 1)
        & alive[readings.device[1:]]
    )
    return follows


def steps_of(readings: Readings, up: bool, positive_sets: bool, alive: Mask) -> Steps:
    """The steps of one direction.

    Args:
        readings: of all devices.
        up: set pulses, else reset pulses.
        positive_sets: whether a positive voltage raises the conductance.
        alive: by device, whether it moves at all.
    """
    follows = consecutive(readings, alive)
    goes_up = (readings.voltage_V[1:] > 0) == positive_sets
    wanted = follows & (readings.voltage_V[1:] != 0) & (goes_up == up)
    second = np.flatnonzero(wanted) + 1  # the row after the pulse
    first_of_sweep = np.ones(len(second), dtype=bool)
    first_of_sweep[1:] = np.diff(second) != 1
    sweep = np.cumsum(first_of_sweep) - 1
    number = np.arange(len(second)) - np.flatnonzero(first_of_sweep)[sweep] if len(second) else sweep
    earlier = np.where(first_of_sweep, second - 1, second - 2)
    _, device = np.unique(readings.device[second], return_inverse=True)
    g_S = readings.g_S
    return Steps(device.astype(np.int64), sweep, number, g_S[earlier], g_S[second - 1], g_S[second])


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
    """By device, cycle and pulse; None where the rows are in this order."""
    keys = (device, cycle, pulse)
    ahead = np.ones(len(device) - 1, dtype=bool)
    tied = np.ones(len(device) - 1, dtype=bool)
    for key in keys:
        ahead &= ~tied | (np.diff(key) >= 0)
        tied &= np.diff(key) == 0
    return None if ahead.all() else np.lexsort(keys[::-1])


def _without_repeats(readings: Readings, report: Cleaning) -> Readings:
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
    return Readings(
        readings.device[first], readings.cycle[first], readings.pulse[first], readings.voltage_V[first], mean_S,
        None if width_s is None else width_s[first], noise, error, n_reads,
    )  # fmt: skip
