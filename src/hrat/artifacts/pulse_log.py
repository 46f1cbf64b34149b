"""Log of the programming of a chip: pulses, energy and outcome of each device, in columns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from hrat.errors import ArtifactError

__all__ = ["PulseColumns", "PulseTotals", "Status"]


class Status(IntEnum):
    """Outcome of a device's programming."""

    ACCEPTED = 0
    """The last reading lay within the tolerance."""
    BUDGET_SPENT = 1
    """The last reading lay outside the tolerance, and the pulse budget was spent."""
    STUCK = 2
    """The device answers no pulse."""
    NOT_READ = 3
    """No reading was made: open loop."""


@dataclass(frozen=True, kw_only=True)
class PulseColumns:
    """One value for each device, all of the shape of its conductances."""

    set_pulses: Tensor
    """int16, or int32 where the pulse budget needs it; likewise `reset_pulses`."""
    reset_pulses: Tensor
    energy_J: Tensor
    """Energy of all pulses, `sum V^2 G t`, float32, J."""
    status: Tensor
    """uint8, see `Status`."""

    NAMES = ("set_pulses", "reset_pulses", "energy_J", "status")

    def __getitem__(self, some: slice) -> PulseColumns:
        """The columns of some of the chips."""
        return PulseColumns(**{name: getattr(self, name)[some] for name in self.NAMES})

    def of(self, chip: int) -> PulseColumns:
        """Columns at one index of the first dimension, such as a chip; shares the memory."""
        return PulseColumns(**{name: getattr(self, name)[chip] for name in self.NAMES})

    def check(self, shape: tuple[int, ...], what: str) -> None:
        """Refuse columns that no programming wrote.

        Args:
            shape: shape of the conductances.
            what: how the message begins.

        Raises:
            ArtifactError: another shape or type, or values that are no counts, energies or outcomes.
        """
        for name in self.NAMES:
            column: Tensor = getattr(self, name)
            if tuple(column.shape) != shape:
                raise ArtifactError(f"{what}: {name} has not the shape of its conductances, {shape}")
            if column.dtype not in _TYPES[name]:
                raise ArtifactError(f"{what}: {name} has numbers of type {column.dtype}; expected {_TYPES[name][0]}")
            top = len(Status) - 1 if name == "status" else math.inf
            if not bool(((column >= 0) & (column <= top) & column.isfinite()).all()):
                raise ArtifactError(f"{what}: {name} has values that are negative, not finite or no valid outcome")

    @property
    def pulses(self) -> Tensor:
        """Pulses of both kinds, of the shape of the conductances, int32."""
        return self.set_pulses.to(torch.int32) + self.reset_pulses

    @classmethod
    def bytes_per_device(cls, max_pulses: int) -> int:
        """Memory that the log of a device takes."""
        empty = cls.empty((0,), max_pulses)
        return sum(getattr(empty, name).element_size() for name in cls.NAMES)

    @staticmethod
    def empty(shape: tuple[int, ...], max_pulses: int) -> PulseColumns:
        """Columns of zeros, to be filled."""
        counts = torch.int16 if max_pulses <= torch.iinfo(torch.int16).max else torch.int32
        return PulseColumns(
            set_pulses=torch.zeros(shape, dtype=counts),
            reset_pulses=torch.zeros(shape, dtype=counts),
            energy_J=torch.zeros(shape, dtype=torch.float32),
            status=torch.zeros(shape, dtype=torch.uint8),
        )


_TYPES = {
    "set_pulses": (torch.int16, torch.int32),
    "reset_pulses": (torch.int16, torch.int32),
    "energy_J": (torch.float32,),
    "status": (torch.uint8,),
}


@dataclass(frozen=True, kw_only=True)
class PulseTotals:
    """Sums over devices."""

    devices: int
    set_pulses: int
    reset_pulses: int
    most_pulses: int
    """Most pulses on one device."""
    readings: int
    energy_J: float
    """Energy of all pulses, J; readings and drivers are not counted."""
    time_s: float
    """Time of pulses and readings, one device after another, s."""
    accepted: int
    budget_spent: int
    stuck: int

    @property
    def mean_pulses(self) -> float:
        """Mean number of pulses for each device."""
        return (self.set_pulses + self.reset_pulses) / max(self.devices, 1)

    def __str__(self) -> str:
        """Pulses, energy and time as text."""
        failed = f"{self.budget_spent:,} spent their pulse budget, {self.stuck:,} are stuck"
        return (
            f"{self.devices:,} devices took {self.mean_pulses:.1f} pulses each, at most {self.most_pulses:,}; "
            f"{self.accepted:,} were accepted, {failed}; pulses took {self.energy_J:.3g} J, pulses and readings "
            f"{self.time_s:.3g} s one after another"
        )
