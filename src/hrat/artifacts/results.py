"""Results of a simulation: outputs, accuracy of each chip, what it took, and what failed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from hrat.files import write_atomic

__all__ = ["SimulationResult"]


@dataclass(frozen=True, kw_only=True)
class SimulationResult:
    """What one or several chips did with the inputs."""

    value: Any
    """The network's outputs in normal scale; a tensor `(chips, images, ...)`, or the nest of them that it returns."""
    solver: str
    seeds: tuple[int, ...]
    n_images: int
    accuracies: tuple[float, ...] | None = None
    """Share of images classified right, for each chip; None where no labels were given."""
    seconds: float = 0.0
    voltages: dict[str, Tensor] = field(default_factory=dict)
    """Amplifier outputs of the layers that were asked for, `(chips, images, ...)`, V."""
    failures: dict[int, str] = field(default_factory=dict)
    """Why a chip has no result, by its seed."""

    @property
    def mean(self) -> float:
        """Mean accuracy over the chips; NaN without labels."""
        return sum(self.accuracies) / len(self.accuracies) if self.accuracies else float("nan")

    @property
    def worst(self) -> float:
        """Accuracy of the worst chip; NaN without labels."""
        return min(self.accuracies) if self.accuracies else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """All but the tensors, as JSON data."""
        return {
            "solver": self.solver,
            "seeds": list(self.seeds),
            "n_images": self.n_images,
            "accuracies": None if self.accuracies is None else list(self.accuracies),
            "mean": None if self.accuracies is None else self.mean,
            "worst": None if self.accuracies is None else self.worst,
            "seconds": self.seconds,
            "failures": {str(seed): why for seed, why in self.failures.items()},
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the figures as JSON, whole or not at all; outputs are not in it."""
        return write_atomic(path, json.dumps(self.to_dict(), indent=2) + "\n")

    def __str__(self) -> str:
        """One line a person reads."""
        text = f"{len(self.seeds)} chip(s), {self.n_images:,} images, {self.solver}, {self.seconds:.1f} s"
        if self.accuracies:
            text = f"accuracy mean {self.mean:.2%}, worst {self.worst:.2%}; " + text
        return text + (f"; {len(self.failures)} failed" if self.failures else "")

    __repr__ = __str__
