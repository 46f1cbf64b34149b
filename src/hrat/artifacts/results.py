"""Results of a simulation: outputs, accuracy of each chip, statistics, and failures."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict
from torch import Tensor

from hrat.artifacts.decode import STRICT, Count, Part, Positive
from hrat.files import write_atomic

__all__ = ["ResultFigures", "SimulationResult"]


@dataclass(frozen=True, kw_only=True)
class ResultFigures:
    """The figures of a simulation as its JSON holds them: all but the outputs. None stands for what is no number."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    solver: str
    seeds: tuple[Count, ...]
    n_images: Count
    accuracies: tuple[Part | None, ...] | None
    """Accuracy of each chip; None for one that failed, or for all where there were no labels."""
    mean: Part | None
    worst: Part | None
    seconds: Positive
    statistics: dict[str, dict[str, float]]
    failures: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class SimulationResult:
    """Outputs and accuracies of one or several chips."""

    value: Any
    """The network's outputs in digital units; a tensor `(chips, images, ...)`, or the nest of them that it returns."""
    solver: str
    seeds: tuple[int, ...]
    n_images: int
    accuracies: tuple[float, ...] | None = None
    """Share of images classified right, for each chip; None where no labels were given."""
    seconds: float = 0.0
    voltages: dict[str, Tensor] = field(default_factory=dict)
    """Amplifier outputs of the requested layers, `(chips, images, ...)`, V."""
    failures: dict[int, str] = field(default_factory=dict)
    """Why a chip has no result, by its seed. Its outputs and its accuracy are not numbers."""
    statistics: dict[str, dict[str, float]] = field(default_factory=dict)
    """Statistics of each layer's solution, summed over chips and batches."""

    @property
    def mean(self) -> float:
        """Mean accuracy over the chips that have one; NaN without labels."""
        shares = self._found()
        return sum(shares) / len(shares) if shares else float("nan")

    @property
    def worst(self) -> float:
        """Accuracy of the worst chip that has one; NaN without labels."""
        return min(self._found(), default=float("nan"))

    def _found(self) -> list[float]:
        return [accuracy for accuracy in self.accuracies or () if not math.isnan(accuracy)]

    def to_dict(self) -> dict[str, Any]:
        """All but the tensors, as JSON data."""
        return {
            "solver": self.solver,
            "seeds": list(self.seeds),
            "n_images": self.n_images,
            "accuracies": None if self.accuracies is None else [_or_none(accuracy) for accuracy in self.accuracies],
            "mean": None if self.accuracies is None else _or_none(self.mean),
            "worst": None if self.accuracies is None else _or_none(self.worst),
            "seconds": self.seconds,
            "statistics": self.statistics,
            "failures": {str(seed): why for seed, why in self.failures.items()},
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the figures as JSON, whole or not at all; outputs are not in it."""
        return write_atomic(path, json.dumps(self.to_dict(), indent=2) + "\n")

    def __str__(self) -> str:
        """One line a person reads."""
        text = f"{len(self.seeds)} chip(s), {self.n_images:,} images, {self.solver}, {self.seconds:.1f} s"
        if self._found():
            text = f"accuracy mean {self.mean:.2%}, worst {self.worst:.2%}; " + text
        return text + (f"; {len(self.failures)} failed" if self.failures else "")

    __repr__ = __str__


def _or_none(value: float) -> float | None:
    """JSON has no word for what is not a number."""
    return None if math.isnan(value) else value
