"""The window of conductances that pulse sweeps go through."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hrat.errors import DataError
from hrat.measurements.fit.statistics import median_and_error
from hrat.measurements.fit.sweeps.steps import Steps
from hrat.measurements.read import Floats, Ints, SweepReadings

__all__ = ["Window", "find_window"]


@dataclass(frozen=True)
class Window:
    """The window of conductances, S, with the standard errors of its ends."""

    low_S: float
    high_S: float
    low_error_S: float = 0.0
    high_error_S: float = 0.0

    @property
    def width_S(self) -> float:
        """Distance between its ends, S."""
        return self.high_S - self.low_S

    @property
    def width_error_rel(self) -> float:
        """Standard error of the width, relative to it."""
        return math.hypot(self.low_error_S, self.high_error_S) / self.width_S

    def position(self, g_S: Floats, up: bool) -> Floats:
        """Part of the window between where sweeps of the direction begin and a conductance."""
        return (g_S - self.low_S if up else self.high_S - g_S) / self.width_S


def find_window(sweeps: dict[bool, Steps], readings: SweepReadings) -> Window:
    """Ends of pulse sweeps: the median over devices of each device's median over its sweeps.

    Args:
        sweeps: steps by direction (true: set); where one is missing, the other one's beginnings stand in for its ends.
        readings: readings of all devices, for how finely they were written down.

    Raises:
        DataError: set sweeps end below reset sweeps.
    """
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


def _median_by_device(values: Floats, device: Ints) -> Floats:
    """Median of each device; the values themselves where there is one device alone."""
    order = np.argsort(device, kind="stable")
    parts = np.split(values[order], np.flatnonzero(np.diff(device[order])) + 1)
    medians = np.array([np.median(part) for part in parts])
    return medians if len(medians) > 1 else np.asarray(values)
