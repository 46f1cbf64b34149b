"""Small charts as SVG without text, which the page labels in HTML: they scale to any width and take its colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from markupsafe import Markup
from torch import Tensor

from hrat.names import plain_text
from hrat.reports.words import percent

__all__ = ["Dot", "curve", "dots", "histogram", "quantile"]

WIDTH, HEIGHT = 300.0, 80.0
DOT_PERCENT = 1.3
"""Width of a dot, in percent of the line's."""


@dataclass(frozen=True)
class Dot:
    """A value on a line."""

    place: float
    """Position in percent of the line's width."""
    level: int
    """Number of dots below it."""
    value: str


def histogram(series: Sequence[tuple[str, Tensor]], low: float, high: float, bins: int = 60, *, label: str) -> Markup:
    """Filled steps, one for each series, over `low..high`; what lies outside is in the end bins.

    Args:
        series: (CSS class, values) of each, drawn in this order, each to its own height.
        low: left end.
        high: right end.
        bins: how many.
        label: what it shows, for those who cannot see it.
    """
    paths = []
    for css, values in series:
        inside = values.double().clamp(low, high).numpy()
        counts, _ = np.histogram(inside, bins=bins, range=(low, high))
        top = max(int(counts.max()), 1)
        step = WIDTH / bins
        points = " ".join(f"V{HEIGHT - (HEIGHT - 4) * count / top:.1f} h{step:.3f}" for count in counts.tolist())
        paths.append(f'<path class="{css}" d="M0 {HEIGHT} {points} V{HEIGHT} Z"/>')
    return _svg("".join(paths), label)


def dots(values: Sequence[float], low: float, high: float) -> list[Dot]:
    """Positions of the dots of values on a line from `low` to `high`, stacked where they are close."""
    places: list[tuple[float, int]] = []
    for value in sorted(values):
        place = 100 * (value - low) / ((high - low) or 1.0)
        level = 0
        while any(abs(place - other) < DOT_PERCENT and level == row for other, row in places):
            level += 1
        places.append((place, level))
    return [Dot(place, level, percent(value)) for (place, level), value in zip(places, sorted(values), strict=True)]


def curve(series: Sequence[tuple[str, Sequence[float]]], *, label: str) -> Markup:
    """Lines over equally spaced steps, from the smallest value of all to the largest."""
    values = [value for _, line in series for value in line if math.isfinite(value)]
    if not values:
        return Markup("")
    low, high = min(values), max(values)
    paths = []
    for css, line in series:
        step = WIDTH / max(len(line) - 1, 1)
        points = [
            f"{step * k:.1f},{HEIGHT - 4 - (HEIGHT - 8) * (value - low) / ((high - low) or 1.0):.1f}"
            for k, value in enumerate(line)
            if math.isfinite(value)
        ]
        paths.append(f'<polyline class="{css}" points="{" ".join(points)}"/>')
    return _svg("".join(paths), label)


def _svg(inside: str, label: str, *, keep_shape: bool = False) -> Markup:
    ratio = "xMidYMax meet" if keep_shape else "none"
    return Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" preserveAspectRatio="{ratio}" role="img" aria-label="{label}">'
    ).format(w=int(WIDTH), h=int(HEIGHT), ratio=ratio, label=plain_text(label)) + Markup(inside + "</svg>")


def quantile(values: Tensor, q: float) -> float:
    """A quantile, of a sample where there are many values: torch refuses more than 16 million."""
    flat = values.flatten()
    return float(torch.quantile(flat[:: math.ceil(flat.numel() / 1_000_000)].double(), q))
