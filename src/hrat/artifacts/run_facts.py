"""Facts of a trained run from `run.json`, read without training code."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from hrat.artifacts.decode import STRICT, Count, Part, Positive, load_json
from hrat.spec import HardwareSpec

__all__ = ["RunFacts"]

_SOME_FIELDS = ConfigDict({**STRICT, "extra": "ignore"})


@dataclass(frozen=True, kw_only=True)
class _FitFacts:
    __pydantic_config__: ClassVar[ConfigDict] = _SOME_FIELDS

    epochs: Count


@dataclass(frozen=True, kw_only=True)
class _RecipeFacts:
    __pydantic_config__: ClassVar[ConfigDict] = _SOME_FIELDS

    name: str
    network: str
    data: str
    fit: _FitFacts


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """A run, finished or not."""

    __pydantic_config__: ClassVar[ConfigDict] = _SOME_FIELDS

    recipe: _RecipeFacts
    spec: dict[str, Any]
    method: str
    seed: Count
    accuracy_without_error: Annotated[Part | None, Field(validation_alias="software")] = None
    """Test accuracy without programming error, `software` in the file; None while the run is not finished."""
    seconds: Positive | None = None
    """Time that training took; None while the run is not finished."""

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RunFacts:
        """Read a `run.json`.

        Raises:
            FileNotFoundError: nothing stands at `path`.
            ArtifactError: the file is damaged or foreign.
        """
        return load_json(cls, path, "run that hrat train wrote")

    @property
    def hardware(self) -> HardwareSpec:
        """The hardware it was trained for.

        Raises:
            SpecError: the file names values that contradict each other.
        """
        return HardwareSpec.from_dict(self.spec)
