"""The results of a parameter sweep: one row for each trial, with its settings and its outcome."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict

from hrat.artifacts.decode import STRICT, Count, load_json
from hrat.errors import ArtifactError, MissingDependencyError
from hrat.files import atomic_path, write_atomic
from hrat.tables import csv_text

__all__ = ["SweepTable"]

OUTCOMES = (
    *("status", "mean", "worst", "std", "val_mean", "val_worst", "val_std", "software", "chips"),
    *("train_seconds", "seconds", "cached", "error", "key"),
)
"""Columns behind those of what was varied."""
TEXT_OUTCOMES = ("status", "error", "key")


@dataclass(frozen=True, kw_only=True)
class SweepTable:
    """All trials of a parameter sweep."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    recipe: str
    data: str
    spec: str
    varied: tuple[str, ...]
    """Names of what was varied, which are columns."""
    search: str
    """grid, random or bayes."""
    held_out: Count
    """Training images that were not trained on, on which `val_mean` was measured."""
    n_test: Count
    rows: tuple[dict[str, Any], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns that have a value somewhere."""
        there = {name for row in self.rows for name in row}
        return (*self.varied, *(name for name in OUTCOMES if name in there))

    @property
    def done(self) -> tuple[dict[str, Any], ...]:
        """The rows of trials that have a result."""
        return tuple(row for row in self.rows if row["status"] == "done")

    @property
    def failed(self) -> tuple[dict[str, Any], ...]:
        """The rows of trials that have none."""
        return tuple(row for row in self.rows if row["status"] != "done")

    @property
    def score(self) -> str:
        """The column by which trials are compared: held-out images where there are some."""
        return "val_mean" if self.held_out else "mean"

    @property
    def best(self) -> dict[str, Any] | None:
        """The row with the highest score."""
        return max(self.done, key=lambda row: row[self.score], default=None)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write as JSON, CSV or Parquet, by the suffix, whole or not at all.

        Raises:
            ArtifactError: another suffix.
            MissingDependencyError: Parquet without pyarrow.
        """
        match Path(path).suffix:
            case ".json":
                return write_atomic(path, json.dumps(asdict(self), indent=1) + "\n")
            case ".csv":
                rows = ([row.get(name, "") for name in self.columns] for row in self.rows)
                return write_atomic(path, csv_text(self.columns, rows))
            case ".parquet":
                return self._save_parquet(path)
            case suffix:
                raise ArtifactError(f"expected a .json, .csv or .parquet file, got '{suffix}' ({path})")

    def _save_parquet(self, path: str | os.PathLike[str]) -> Path:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise MissingDependencyError(
                'Parquet needs pyarrow, which is not installed; pip install "hrat[sweep]"'
            ) from error
        columns = {}
        for name in self.columns:
            values = [row.get(name) for row in self.rows]
            kinds = {type(value) for value in values if value is not None}
            # A column has one type: numbers of both kinds are floats, and a mixture is text.
            if kinds == {int, float}:
                values = [None if value is None else float(value) for value in values]
            elif len(kinds) > 1:
                values = [None if value is None else str(value) for value in values]
            columns[name] = values
        about = {key: str(value) for key, value in asdict(self).items() if key != "rows"}
        table = pyarrow.table(columns).replace_schema_metadata({f"hrat.{key}": value for key, value in about.items()})
        with atomic_path(path) as temporary:
            pyarrow.parquet.write_table(table, temporary)
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SweepTable:
        """Read the JSON that `save` wrote.

        Raises:
            ArtifactError: the file is damaged or foreign.
        """
        table = load_json(cls, path, "table of a sweep")
        for number, row in enumerate(table.rows):
            table._check_row(row, f"{os.fspath(path)}, row {number}")
        return table

    def _check_row(self, row: dict[str, Any], where: str) -> None:
        unknown = [name for name in row if name not in (*self.varied, *OUTCOMES)]
        if unknown:
            raise ArtifactError(
                f"{where}: unknown column {unknown[0]!r}; expected {', '.join((*self.varied, *OUTCOMES))}"
            )
        if not all(value is None or isinstance(value, str | bool | int | float) for value in row.values()):
            raise ArtifactError(f"{where}: expected numbers and texts, got a nest of them")
        for name in OUTCOMES:
            value, is_text = row.get(name), name in TEXT_OUTCOMES
            if value is not None and (isinstance(value, str) != is_text):
                raise ArtifactError(f"{where}: expected {name} to be {'a text' if is_text else 'a number'}")
        score = row.get(self.score)
        is_share = isinstance(score, float | int) and not isinstance(score, bool) and 0 <= score <= 1
        if not isinstance(row.get("status"), str) or (row["status"] == "done" and not is_share):
            raise ArtifactError(f"{where}: expected a status, and of a trial that is done a {self.score} from 0 to 1")
