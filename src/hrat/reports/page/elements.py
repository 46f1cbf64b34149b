"""What sections of the page are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Bar", "Table"]


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
