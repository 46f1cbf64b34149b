"""An axis for accuracies that shows half a point between good methods, even beside one that guesses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["AccuracyAxis"]

WIDEST_LINEAR = 0.2
"""Accuracies that lie further apart than this get the stretched axis."""

# The roundest first: a tick is drawn where those before it leave room.
TICKS = (0.0, 0.5, 0.9, 0.99, 1.0, 0.8, 0.95, 0.98, 0.999, 0.7, 0.6, 0.4, 0.2, 0.97, 0.96, 0.995, 0.92, 0.85, 0.3, 0.1)
LEAST_GAP = 0.055


@dataclass(frozen=True)
class AccuracyAxis:
    """Accuracy -> place on the axis: as it is, or by the logarithm of the error rate."""

    low: float
    high: float
    least_error: float
    """Error rate that stands for none at all, where the axis is stretched."""
    stretched: bool

    @classmethod
    def around(cls, accuracies: Sequence[float], n_test: int) -> AccuracyAxis:
        """The axis that shows all of `accuracies`, measured on `n_test` images, with a margin."""
        low, high = min(accuracies), max(accuracies)
        stretched = high - low > WIDEST_LINEAR
        axis = cls(low, high, 0.5 / max(1, n_test), stretched)
        if stretched:
            return axis
        margin = max(0.08 * (high - low), 0.003)
        return cls(low - margin, high + margin, axis.least_error, stretched)

    def place(self, accuracy: float) -> float:
        """Position of an accuracy."""
        return -math.log10(max(1.0 - accuracy, self.least_error)) if self.stretched else accuracy

    @property
    def limits(self) -> tuple[float, float]:
        """Both ends."""
        low, high = self.place(self.low), self.place(self.high)
        margin = 0.06 * (high - low) if self.stretched else 0.0
        return low - margin, high + margin

    def ticks(self) -> list[float]:
        """Accuracies to be written at the axis, ascending."""
        low, high = self.limits
        gap = LEAST_GAP * (high - low)
        chosen: list[float] = []
        for tick in TICKS if self.stretched else _even(low, high):
            inside = low <= self.place(tick) <= high
            if inside and all(abs(self.place(tick) - self.place(other)) >= gap for other in chosen):
                chosen.append(tick)
        return sorted(chosen)


def _even(low: float, high: float) -> list[float]:
    rough = (high - low) / 8
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [number * step for number in range(first, last + 1) if number * step <= 1.0 + 1e-9]
