"""Things side by side as tables."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from hrat.reports.html import Table as PageTable
from hrat.reports.sides.sides import FIGURES, Sides
from hrat.reports.words import percent, points, safe_markup

__all__ = ["page_tables", "sides_table"]


def sides_table(sides: Sides) -> Group:
    """Figures, facts, fields of the specs and costs of the restrictions, as far as they differ."""
    parts: list[Any] = []
    for table in page_tables(sides):
        shown = Table(box=box.SIMPLE_HEAD, title=safe_markup(table.caption), title_justify="left", padding=(0, 1, 0, 0))
        for number, heading in enumerate(table.headings):
            shown.add_column(safe_markup(heading), justify="right" if number else "left", overflow="fold")
        for row in table.rows:
            shown.add_row(*(safe_markup(cell) for cell in row))
        parts.append(shown)
    if not sides.fields():
        parts.append(Text("The hardware is the same."))
    return Group(*parts)


def page_tables(sides: Sides) -> list[PageTable]:
    """Tables of figures, facts, fields and costs, as far as there is something in them."""
    labels = sides.labels
    tables = []
    if rows := sides.figures():
        two = len(labels) == 2
        tables.append(
            PageTable(
                "Figures",
                ("figure", *labels, *(["difference"] if two else [])),
                [_figure_row(key, values, two) for key, values in rows],
            )
        )
    if facts := sides.facts():
        tables.append(PageTable("How they came about", ("what", *labels), [(name, *values) for name, values in facts]))
    if fields := sides.fields():
        tables.append(
            PageTable(
                "Hardware, what differs", ("field", *labels), [(name, *map(_value, values)) for name, values in fields]
            )
        )
    if costs := sides.costs():
        caption = "Points won when a restriction is taken away"
        tables.append(
            PageTable(
                caption,
                ("restriction", *labels),
                [
                    (name, *("-" if one is None else f"{points(one[0])} ± {points(one[1])}" for one in values))
                    for name, values in costs
                ],
            )
        )
    return tables


def _figure_row(key: str, values: list[float | None], two: bool) -> tuple[str, ...]:
    figure = FIGURES[key]
    cells = ["-" if value is None else figure.show(value) for value in values]
    if not two:
        return (figure.name, *cells)
    first, second = values
    if first is None or second is None:
        return (figure.name, *cells, "")
    if first == second:
        return (figure.name, *cells, "same")
    word = "" if not figure.better else (" better" if (second - first) * figure.better > 0 else " worse")
    if figure.show is percent or key in ("cost", "rms"):
        return (figure.name, *cells, f"{100 * (second - first):+.2f} points{word}")
    return (figure.name, *cells, f"x {second / first:.3g}{word}" if first else word.strip())


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list) and (len(value) > 6 or any(isinstance(part, list) for part in value)):
        return f"a list of {len(value)}"
    return f"{value:g}" if isinstance(value, float) else str(value)
