"""`hrat diff`: runs, reports, chips or specs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrat.cli import completion
from hrat.cli.output import examples, show, tell, wrote
from hrat.errors import HratError

__all__ = ["EXAMPLES", "diff"]

EXAMPLES = examples(
    "hrat diff generic-4bit yao2020 mine.toml         # specs: the fields that differ",
    "hrat diff runs/plain runs/hrat                   # runs, with what hrat report found of them",
    "hrat diff runs/a runs/b -o sides.html --csv sides.csv",
)


def diff(
    things: Annotated[
        list[str],
        typer.Argument(
            metavar="A B...",
            autocompletion=completion.specs,
            help="Two or more: a run's folder, a report's folder, chips, a deployment, a preset or a TOML file.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write a page, .html, that needs nothing else."),
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all that differs as a table.")] = None,
) -> None:
    """Show runs, reports, chips or specs side by side: figures, how they came about, and the hardware that differs."""
    from hrat.reports import side_by_side, sides_page, sides_table

    if output is not None and output.suffix != ".html":
        raise HratError(f"--output: expected a file that ends in .html, got {output}")
    compared = side_by_side(things)
    tell(**compared.to_dict())
    show(sides_table(compared))
    if output is not None:
        wrote([sides_page(compared, output)])
    if csv is not None:
        wrote([compared.save_csv(csv)])
