"""A parameter sweep as a table for the terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table

from hrat.artifacts import SweepTable
from hrat.reports.words import percent, safe_markup

__all__ = ["sweep_table"]

MOST_ROWS = 40


def sweep_table(table: SweepTable) -> Table:
    """Settings and outcomes of the trials: a grid in its order, a search from the best trial on."""
    rows = list(table.rows)
    if table.search != "grid":
        rows.sort(key=lambda row: row.get(table.score, -1.0), reverse=True)
    images = f"{table.held_out:,} held-out images" if table.held_out else f"{table.n_test:,} test images"
    shown = Table(
        box=box.SIMPLE_HEAD,
        title=f"{safe_markup(table.recipe)}, {safe_markup(table.spec)}: {len(table.done)} trials, accuracy on {images}",
        title_justify="left",
        caption=f"and {len(rows) - MOST_ROWS} more in the files" if len(rows) > MOST_ROWS else None,
    )
    for name in table.varied:
        shown.add_column(safe_markup(name), justify="right", no_wrap=True)
    prefix = "val_" if table.held_out else ""
    for heading in ("mean", "worst chip", *(["test mean", "test worst"] if table.held_out else [])):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("", overflow="fold")
    for row in rows[:MOST_ROWS]:
        columns = [f"{prefix}mean", f"{prefix}worst", *(["mean", "worst"] if table.held_out else [])]
        figures = [percent(row[column]) if column in row else "-" for column in columns]
        note = "known already" if row.get("cached") else ""
        note = safe_markup(str(row.get("error", ""))) if row["status"] != "done" else note
        shown.add_row(*(_text(row.get(name)) for name in table.varied), *figures, note)
    return shown


def _text(value: Any) -> str:
    return safe_markup(f"{value:.4g}" if isinstance(value, float) else str(value))
