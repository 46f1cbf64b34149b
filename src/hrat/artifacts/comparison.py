"""Several ways to train the same network, on the same chips: the figures of a comparison."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hrat.errors import ArtifactError, SeedError
from hrat.files import write_atomic
from hrat.seeds import check_seed

__all__ = ["Comparison", "ComparisonRow"]


@dataclass(frozen=True, kw_only=True)
class ComparisonRow:
    """One way to train."""

    method: str
    """Key, such as `hrat`."""
    label: str
    """What a person reads, such as `HRAT without fusing`."""
    accuracies: tuple[float, ...]
    """Test accuracy of each chip; of the network itself for `float`, which runs on no chip."""
    software: float
    """Test accuracy without programming error: in floating point, or, of HRAT, under the other restrictions."""
    train_seconds: float
    epochs: int

    @property
    def mean(self) -> float:
        """Mean over the chips."""
        return sum(self.accuracies) / len(self.accuracies)

    @property
    def worst(self) -> float:
        """The worst chip."""
        return min(self.accuracies)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All ways, and what they have in common."""

    network: str
    data: str
    spec: str
    spec_summary: str
    """The restrictions in words, such as `3 bits, 10 % error, 0.3 V read, ...`."""
    n_train: int
    n_test: int
    n_chips: int
    seed: int
    rows: tuple[ComparisonRow, ...]

    def row(self, method: str) -> ComparisonRow:
        """The row of a method; KeyError if it was not compared."""
        for row in self.rows:
            if row.method == method:
                return row
        raise KeyError(method)

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Comparison:
        """The inverse of `to_dict`.

        Raises:
            ArtifactError: something is missing.
        """
        try:
            rows = tuple(
                ComparisonRow(**{**row, "accuracies": tuple(float(a) for a in row["accuracies"])})
                for row in data["rows"]
            )
            return cls(**{**data, "seed": check_seed(data["seed"]), "rows": rows})
        except (KeyError, TypeError, SeedError) as error:
            raise ArtifactError(f"not a comparison that hrat wrote: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write as JSON, whole or not at all."""
        return write_atomic(path, json.dumps(self.to_dict(), indent=2) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Comparison:
        """Read what `save` wrote.

        Raises:
            ArtifactError: the file is damaged or foreign.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ArtifactError(f"{path} is damaged or no JSON: {error}") from error
        return cls.from_dict(data)
