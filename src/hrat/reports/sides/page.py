"""Things side by side as a page."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hrat.files import write_atomic
from hrat.reports.html import Dot, Fact, asset, dots, hrat_version, template
from hrat.reports.sides.sides import Sides
from hrat.reports.sides.table import page_tables
from hrat.reports.words import percent

__all__ = ["sides_page"]


def sides_page(sides: Sides, path: str | os.PathLike[str]) -> Path:
    """Write things side by side as one HTML page that needs nothing else, whole or not at all.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    shown = [Fact(f"{side.kind}, on {side.spec.name}", side.label, side.verdict) for side in sides.sides]
    text = template("sides.html.jinja").render(
        title=" / ".join(sides.labels),
        sides=shown,
        tables=page_tables(sides),
        strips=_strips(sides),
        same=not sides.fields(),
        version=hrat_version(),
        style=asset("style.css"),
        script=asset("script.js"),
    )
    return write_atomic(path, text)


@dataclass(frozen=True)
class Strip:
    """Accuracies of one side over its chips."""

    label: str
    dots: list[Dot]
    words: str


def _strips(sides: Sides) -> list[Strip]:
    """The accuracies over chips, all on one scale."""
    every = [value for side in sides.sides for value in side.accuracies]
    if not every:
        return []
    room = max(max(every) - min(every), 0.002)
    low, high = max(min(every) - 0.1 * room, 0.0), min(max(every) + 0.1 * room, 1.0)
    return [
        Strip(
            side.label,
            dots(side.accuracies, low, high),
            f"{percent(min(side.accuracies))} to {percent(max(side.accuracies))}",
        )
        for side in sides.sides
        if side.accuracies
    ]
