"""Files that tests write, and what a fit finds in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import hrat

Write = Callable[..., Path]


def values(path: Path, **options: object) -> dict[str, float]:
    fit = hrat.fit_device(path, **options)  # type: ignore[arg-type]
    return {part.field: part.value for part in fit.parameters if isinstance(part.value, float)}


def with_header(text: str, header: str) -> str:
    comment, _, rest = text.split("\n", 2)
    return f"{comment}\n{header}\n{rest}"


def each_row(text: str, change: Callable[[list[str]], list[str]]) -> str:
    comment, header, *rows = text.strip().split("\n")
    return "\n".join([comment, header, *(",".join(change(row.split(","))) for row in rows)]) + "\n"
