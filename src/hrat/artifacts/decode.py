"""JSON of a file -> the dataclass that wrote it, checked field by field."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from hrat.errors import ArtifactError

__all__ = ["STRICT", "Count", "Part", "Positive", "decoded", "load_json", "parse_json"]

T = TypeVar("T")

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
"""The `__pydantic_config__` of dataclasses that are read from files: no unknown fields, no NaN, no infinity."""

Count = Annotated[int, Field(ge=0, lt=2**63)]
"""A number of things, from 0."""
Part = Annotated[float, Field(ge=0, le=1)]
"""A share, from 0 to 1."""
Positive = Annotated[float, Field(ge=0)]
"""A size: from 0, finite."""

MOST_TOLD = 3
"""Faults of a file that its error names; a file that is something else altogether has hundreds."""


def parse_json(text: str | bytes, where: str | os.PathLike[str]) -> Any:
    """Parse JSON text.

    Args:
        text: the JSON.
        where: file that holds it, for the message.

    Raises:
        ArtifactError: it is no JSON, or nested so deeply that nothing of hrat's can have written it.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise ArtifactError(f"{os.fspath(where)} is damaged or no JSON: {error}") from error


def load_json(cls: type[T], path: str | os.PathLike[str], what: str) -> T:
    """Read a JSON file that holds one object of a dataclass.

    Args:
        cls: the dataclass.
        path: the file.
        what: what the file should be, such as "comparison", for the message.

    Raises:
        FileNotFoundError: nothing stands at `path`.
        ArtifactError: the file is damaged or foreign.
    """
    return decoded(cls, parse_json(Path(path).read_bytes(), path), f"{os.fspath(path)} is damaged or no {what}")


def decoded(cls: type[T], data: Any, refusal: str) -> T:
    """An object of a dataclass from parsed JSON.

    Types are taken as they are (no text for a number, no 1 for true), all fields without a default have to be there,
    and others may not.

    Args:
        cls: the dataclass; its annotations may carry bounds such as `Part`.
        data: what `json.loads` returned.
        refusal: how the message begins.

    Raises:
        ArtifactError: the data does not fit, with the first few places where.
    """
    try:
        adapter: TypeAdapter[T] = _adapter(cls)  # type: ignore[arg-type]  # classes are hashable
        instance = adapter.validate_json(json.dumps(data), strict=True)
        return instance
    except ValidationError as error:
        places = [
            f"{'.'.join(map(str, part['loc'])) or 'the whole'}: {part['msg']}"
            for part in error.errors(include_url=False, include_context=False)
        ]
        more = f" and {len(places) - MOST_TOLD} more" if len(places) > MOST_TOLD else ""
        raise ArtifactError(f"{refusal}: {'; '.join(places[:MOST_TOLD])}{more}") from error
    except RecursionError as error:
        raise ArtifactError(f"{refusal}: nested too deeply") from error


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)
