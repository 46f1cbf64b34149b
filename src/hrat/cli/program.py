"""`hrat program`: make simulated chips from a deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrat.cli.options import CsvOption
from hrat.cli.output import examples, next_step, show, wrote

__all__ = ["EXAMPLES", "program"]

EXAMPLES = examples(
    "hrat program network.deployment -o network.chips",
    "hrat program network.deployment -o one.chip --chips 1 --seed 7 --csv tables",
)


def program(
    deployment: Annotated[Path, typer.Argument(metavar="DEPLOYMENT", help="File that hrat deploy wrote.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="File to write.", show_default="DEPLOYMENT's name with .chips"
        ),
    ] = None,
    chips: Annotated[int, typer.Option(min=1, help="How many chips; they differ in their programming errors.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the first chip; the others follow it.")] = 0,
    csv: CsvOption = None,
) -> None:
    """Program chips: every device ends at its target plus an error of its own."""
    import hrat
    from hrat.reports import artifact_table

    chip = hrat.program(hrat.Deployment.load(deployment), seed=seed, chips=chips)
    path = chip.save(output or deployment.with_suffix(".chips"))
    show(artifact_table(chip))
    wrote([path])
    if csv is not None:
        wrote(hrat.export_csv(chip, csv))
    next_step(f"hrat simulate {path} --data mnist5k")
