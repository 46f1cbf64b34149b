"""Tables, bars and figures of a page, as words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Bar", "Fact", "Table"]


@dataclass(frozen=True)
class Table:
    """A table: the first column is text, the others are numbers unless they say otherwise."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: bool = False
    """Whether all columns are text."""


@dataclass(frozen=True)
class Bar:
    """A bar with its error, as parts of the longest one."""

    name: str
    value: str
    share: float
    error: float = 0.0
    negative: bool = False


@dataclass(frozen=True)
class Fact:
    """A figure that stands by itself."""

    name: str
    value: str
    note: str
