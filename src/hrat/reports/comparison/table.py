"""A comparison as a table, on a terminal or in Markdown."""

from __future__ import annotations

from rich import box
from rich.table import Table

from hrat.artifacts import Comparison, ComparisonRow
from hrat.names import one_line
from hrat.reports.words import count, duration, percent, points, safe_markup

__all__ = ["comparison_markdown", "comparison_table"]

FLOAT = "float"
"""The method that runs on no chip, to which the others are compared."""

COLUMNS = ("method", "without error", "chip mean", "worst chip", "drop", "epochs", "training")


def comparison_table(comparison: Comparison) -> Table:
    """The methods of a comparison, one a row; the best mean on chips is bold."""
    table = Table(
        title=safe_markup(_title(comparison)),
        caption=safe_markup(_caption(comparison)),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for column in COLUMNS:
        # Headings in two lines, so that the table fits into 80 columns.
        heading = column.replace(" ", "\n")
        table.add_column(heading, justify="left" if column == "method" else "right", no_wrap=column != "method")
    best = max((row.mean for row in comparison.rows if row.method != FLOAT), default=None)
    for row in comparison.rows:
        style = "bold" if row.method != FLOAT and row.mean == best else ""
        cells = _cells(comparison, row)
        table.add_row(safe_markup(cells[0]), *cells[1:], style=style)
    return table


def comparison_markdown(comparison: Comparison) -> str:
    """The methods of a comparison as a table in Markdown, with what the figures mean below it."""
    lines = [
        f"## {one_line(_title(comparison), None)}",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|---|" + "---:|" * (len(COLUMNS) - 1),
    ]
    for row in comparison.rows:
        lines.append("| " + " | ".join(one_line(cell).replace("|", r"\|") for cell in _cells(comparison, row)) + " |")
    return "\n".join([*lines, "", one_line(_caption(comparison), None), ""])


def _cells(comparison: Comparison, row: ComparisonRow) -> list[str]:
    reference = next((other.mean for other in comparison.rows if other.method == FLOAT), None)
    on_chip = row.method != FLOAT
    drop = points(reference - row.mean) if on_chip and reference is not None else "-"
    return [
        row.label,
        percent(row.accuracy_without_error),
        percent(row.mean) if on_chip else "-",
        percent(row.worst) if on_chip else "-",
        drop,
        str(row.epochs),
        duration(row.train_seconds),
    ]


def _title(comparison: Comparison) -> str:
    return f"{comparison.network} on {comparison.data}, {count(comparison.n_chips, 'chip')} of {comparison.spec}"


def _caption(comparison: Comparison) -> str:
    return (
        f"Test accuracy on {count(comparison.n_test, 'image')} after training on {comparison.n_train:,}, seed "
        f"{comparison.seed}. Hardware: {comparison.spec_summary}. Without error: in floating point; for HRAT under "
        "all restrictions but the programming error. Drop: percentage points by which the chips' mean is below the "
        "float network."
    )
