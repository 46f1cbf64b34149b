"""`report.json`, which `hrat report` leaves beside its page: what is read of it again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from hrat.artifacts import STRICT, Count, Part, Positive, ResultFigures, Verification, decoded, parse_json
from hrat.errors import ArtifactError

__all__ = ["ReportFile", "read_report"]

VERSION = 1
"""Version of the file's layout."""

_SOME_FIELDS = ConfigDict({**STRICT, "extra": "ignore"})


@dataclass(frozen=True, kw_only=True)
class ChipFigures:
    """The chips that the report is about."""

    __pydantic_config__: ClassVar[ConfigDict] = _SOME_FIELDS

    seeds: tuple[Count, ...]
    scheme: str
    devices: Count
    tiles: Count
    error_rms: Positive | None = None
    """Programming error as a part of the window; None in files of versions that did not have it."""


@dataclass(frozen=True, kw_only=True)
class CostOfOne:
    """Accuracy gained when a restriction is removed."""

    __pydantic_config__: ClassVar[ConfigDict] = _SOME_FIELDS

    name: str
    removed: float
    removed_error: Positive


@dataclass(frozen=True, kw_only=True)
class BudgetFigures:
    """The budget's totals and its costs."""

    __pydantic_config__: ClassVar[ConfigDict] = _SOME_FIELDS

    ideal: Part
    full: Part
    rms: Positive
    rows: tuple[CostOfOne, ...]


@dataclass(frozen=True, kw_only=True)
class EstimateFigures:
    """The estimate's totals."""

    __pydantic_config__: ClassVar[ConfigDict] = _SOME_FIELDS

    energy_J: Positive
    latency_s: Positive
    area_m2: Positive


@dataclass(frozen=True, kw_only=True)
class ReportFile:
    """Content of a report that `hrat diff` reads."""

    __pydantic_config__: ClassVar[ConfigDict] = _SOME_FIELDS

    report: Literal[1]
    facts: dict[str, str]
    spec: dict[str, Any]
    chips: ChipFigures
    accuracy_without_error: Annotated[Part | None, Field(validation_alias="software")]
    result: ResultFigures | None
    budget: BudgetFigures | None
    verification: Verification | None
    estimate: EstimateFigures | None
    said: tuple[str, ...] = ()
    """The budget in words."""


def read_report(path: str | os.PathLike[str]) -> ReportFile:
    """Read a `report.json`.

    Raises:
        FileNotFoundError: nothing stands at `path`.
        ArtifactError: the file is damaged, foreign, or of another version.
    """
    with open(path, "rb") as file:
        data = parse_json(file.read(), path)
    version = data.get("report") if isinstance(data, dict) else None
    if isinstance(version, int) and version != VERSION:
        raise ArtifactError(f"{os.fspath(path)} is of report version {version}, this hrat reads version {VERSION}")
    return decoded(ReportFile, data, f"{os.fspath(path)} is damaged or no report.json of hrat report")
