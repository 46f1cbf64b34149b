"""`hrat deploy`: from a trained network to what the chip has to be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrat.cli.options import CsvOption
from hrat.cli.output import examples, next_step, show, wrote

__all__ = ["EXAMPLES", "deploy"]

EXAMPLES = examples("hrat deploy run -o network.deployment", "hrat deploy run -o network.deployment --csv tables")


def deploy(
    run: Annotated[Path, typer.Argument(metavar="RUN_FOLDER", help="Folder that hrat train wrote.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="File to write.", show_default="RUN_FOLDER/network.deployment"
        ),
    ] = None,
    csv: CsvOption = None,
) -> None:
    """Map a trained network to target conductances, feedback resistances and DAC codes."""
    import hrat
    from hrat.recipes import load_run
    from hrat.reports import artifact_table

    deployment = hrat.deploy(load_run(run).model)
    path = deployment.save(output or run / "network.deployment")
    show(artifact_table(deployment))
    wrote([path])
    if csv is not None:
        wrote(hrat.export_csv(deployment, csv))
    next_step(f"hrat program {path}")
