"""Steps of pulse sweeps: each the change of a device's conductance by one pulse.

Two readings of a device and cycle whose pulse numbers follow each other make one step; the sign of the second one's
voltage says in which direction the pulse was meant to change the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hrat.measurements.read import Floats, Ints, Mask, SweepReadings

__all__ = ["Steps", "consecutive", "steps_of", "thinned"]

MOST_STEPS = 1_000_000
"""Steps of one direction above which only some of each device's sweeps are fitted."""


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
        """Number of steps."""
        return len(self.device)

    @property
    def n_devices(self) -> int:
        """Upper bound of the number of devices."""
        return int(self.device.max()) + 1

    @property
    def starts_sweep(self) -> Mask:
        """Whether a step is the first of its sweep."""
        return np.asarray(self.number == 0)


def consecutive(readings: SweepReadings, alive: Mask) -> Mask:
    """For each reading but the first whether it follows on the one before by one pulse, on a device that moves."""
    follows: Mask = (
        (np.diff(readings.device) == 0)
        & (np.diff(readings.cycle) == 0)
        & (np.diff(readings.pulse) == 1)
        & alive[readings.device[1:]]
    )
    return follows


def steps_of(readings: SweepReadings, up: bool, positive_sets: bool, alive: Mask) -> Steps:
    """The steps of one direction.

    Args:
        readings: readings of all devices.
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


def thinned(steps: Steps) -> Steps:
    """Part of the sweeps where there are very many: errors are far below all else then, and time is not."""
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
