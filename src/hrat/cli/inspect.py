"""`hrat inspect`: the content of a file or folder that hrat wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hrat.cli.contents import contents_of
from hrat.cli.figures import figures
from hrat.cli.options import CsvOption
from hrat.cli.output import examples, say, show, tell, wrote
from hrat.errors import HratError

if TYPE_CHECKING:
    from hrat.artifacts import Comparison, Deployment, ProgrammedChip

__all__ = ["EXAMPLES", "inspect"]

EXAMPLES = examples(
    "hrat inspect network.deployment --csv tables",
    "hrat inspect network.chips --picture chip.png",
    "hrat inspect runs/lenet5-mnist5k-hrat",
)


def inspect(
    path: Annotated[
        Path, typer.Argument(metavar="FILE|FOLDER", help="A deployment, chips, results, or a run's folder.")
    ],
    csv: CsvOption = None,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw chips or a comparison, as .png, .svg or .pdf."),
    ] = None,
) -> None:
    """Recognise a file or folder, and show it as a table."""
    contents = contents_of(path)
    say(f"{path}: {contents.what}")
    if contents.artifact is not None:
        tell(**figures(contents.artifact))
    show(contents.table)
    if csv is not None:
        wrote(_export(path, contents.artifact, csv))
    if picture is not None:
        wrote([_draw(path, contents.artifact, picture)])


def _export(path: Path, artifact: Deployment | ProgrammedChip | Comparison | None, folder: Path) -> list[Path]:
    from hrat.artifacts import Comparison, export_csv

    if artifact is None or isinstance(artifact, Comparison):
        raise HratError(f"--csv: expected a deployment or chips, which have tables of conductances; {path} is neither")
    return export_csv(artifact, folder)


def _draw(path: Path, artifact: Deployment | ProgrammedChip | Comparison | None, picture: Path) -> Path:
    from hrat.artifacts import Comparison, ProgrammedChip
    from hrat.reports import chip_figure, comparison_figure

    if isinstance(artifact, Comparison):
        return comparison_figure(artifact, picture)
    if isinstance(artifact, ProgrammedChip):
        return chip_figure(artifact, picture)
    raise HratError(f"--picture: expected chips or a comparison; {path} is neither")
