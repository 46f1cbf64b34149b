"""Tables on a terminal that is too narrow for them: each row as a list of its cells, so that nothing is cut off."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

__all__ = ["fitted"]


def fitted(shown: RenderableType, console: Console) -> Iterator[RenderableType]:
    """Output that fits the terminal: unchanged, or its tables as lists where their words are too wide."""
    from rich.console import Group
    from rich.table import Table

    if isinstance(shown, Group):
        for part in shown.renderables:
            yield from fitted(part, console)
    elif isinstance(shown, Table) and shown.show_header and len(shown.columns) > 1:
        if _least_width(shown, console) > console.width:
            yield from _as_list(shown)
        else:
            yield shown
    else:
        yield shown


def _least_width(table: Table, console: Console) -> int:
    """Columns that hold every word whole, and every cell where nothing may be wrapped; rich would cut these off."""
    from rich.measure import Measurement

    wide = console.options.update(max_width=10_000)
    least = Measurement.get(console, wide, table).minimum
    for column in table.columns:
        if column.no_wrap:
            cells = [Measurement.get(console, wide, cell) for cell in (column.header, *column.cells)]
            least += max(cell.maximum for cell in cells) - max(cell.minimum for cell in cells)
    return least


def _as_list(table: Table) -> Iterator[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    if table.title is not None:
        yield Text("")
        yield table.title if not isinstance(table.title, str) else Text.from_markup(table.title, style="italic")
    first, *headings = (str(column.header) for column in table.columns)
    for cells in zip_longest(*(column.cells for column in table.columns), fillvalue=""):
        yield Text("")
        yield Text.from_markup(f"{first} {cells[0]}".strip(), style="bold")
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(style="dim", overflow="fold")
        grid.add_column(overflow="fold")
        for heading, cell in zip(headings, cells[1:], strict=True):
            if cell != "":
                grid.add_row(f"  {heading}", cell)
        yield grid
    yield Text("")
