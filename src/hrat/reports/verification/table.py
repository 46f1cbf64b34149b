"""A verification as a table for the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hrat.artifacts import Verification
from hrat.reports.words import duration, percent, safe_markup

__all__ = ["verification_table"]


def verification_table(verification: Verification) -> RenderableType:
    """Accuracy and classes at each depth, how far the layers' outputs lie apart, and why."""
    sentences = [Text(f"- {sentence}.") for sentence in verification.sentences()]
    return Group(_depths(verification), _layers(verification), *sentences)


def _depths(verification: Verification) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("depth")
    for heading in ("accuracy", "same class", "time"):
        table.add_column(heading, justify="right")
    for depth in verification.depths:
        if depth.failure is not None:
            table.add_row(safe_markup(depth.name), "[red]failed[/]")  # why, is said below
            continue
        shares = ["-" if share is None else percent(share) for share in (depth.accuracy, depth.agreement)]
        table.add_row(safe_markup(depth.name), *shares, duration(depth.seconds))
    return table


def _layers(verification: Verification) -> Table:
    first = safe_markup(verification.depths[0].name)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=f"difference from {first}, mV", title_justify="left")
    table.add_column("layer", overflow="fold")
    table.add_column("signal rms", justify="right")
    solved = [depth for depth in verification.depths if depth.layers]
    for depth in solved:
        table.add_column(f"{safe_markup(depth.name)}\nrms (largest)", justify="right")
    for rows in zip(*(depth.layers for depth in solved), strict=True):
        cells = [f"{1e3 * row.rms_V:.2g} ({1e3 * row.largest_V:.2g})" for row in rows]
        table.add_row(safe_markup(rows[0].layer), f"{1e3 * rows[0].signal_rms_V:.3g}", *cells)
    return table
