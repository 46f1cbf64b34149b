"""Comparison of training methods for one network on the same chips."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from hrat.artifacts.decode import STRICT, Count, Part, Positive, decoded, load_json
from hrat.files import write_atomic

__all__ = ["Comparison", "ComparisonRow"]

_STORED_NAME = "software"
"""Name of `accuracy_without_error` in files."""


@dataclass(frozen=True, kw_only=True)
class ComparisonRow:
    """One training method."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    method: str
    """Key, such as `hrat`."""
    label: str
    """Its name for people, such as `HRAT without fusing`."""
    accuracies: Annotated[tuple[Part, ...], Field(min_length=1)]
    """Test accuracy of each chip; of the network itself for `float`, which runs on no chip."""
    accuracy_without_error: Annotated[Part, Field(validation_alias=_STORED_NAME)]
    """Test accuracy without programming error: in floating point, or for HRAT under the other restrictions."""
    train_seconds: Positive
    epochs: Count

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
    """All training methods compared, and what they have in common."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    network: str
    data: str
    spec: str
    spec_summary: str
    """The restrictions in words, such as `3 bits, 10 % error, 0.3 V read, ...`."""
    n_train: Count
    n_test: Count
    n_chips: Count
    seed: Count
    rows: Annotated[tuple[ComparisonRow, ...], Field(min_length=1)]

    def row(self, method: str) -> ComparisonRow:
        """The row of a method; KeyError if it was not compared."""
        for row in self.rows:
            if row.method == method:
                return row
        raise KeyError(method)

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON data."""
        data = asdict(self)
        for row in data["rows"]:
            row[_STORED_NAME] = row.pop("accuracy_without_error")
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Comparison:
        """Make one from plain data: the inverse of `to_dict`.

        Raises:
            ArtifactError: something is missing.
        """
        return decoded(cls, data, "not a comparison that hrat wrote")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write as JSON, whole or not at all."""
        return write_atomic(path, json.dumps(self.to_dict(), indent=2) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Comparison:
        """Read a file that `save` wrote.

        Raises:
            ArtifactError: the file is damaged or foreign.
        """
        return load_json(cls, path, "comparison")
