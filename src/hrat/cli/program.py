"""`hrat program`: make simulated chips from a deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrat.cli import completion
from hrat.cli.figures import figures
from hrat.cli.options import CsvOption
from hrat.cli.output import examples, next_step, say, show, tell, wrote
from hrat.errors import HratError
from hrat.seeds import MOST_SEED

__all__ = ["EXAMPLES", "program"]

EXAMPLES = examples(
    "hrat program network.deployment -o network.chips",
    "hrat program network.deployment -o one.chip --chips 1 --seed 7 --csv tables",
    "hrat program network.deployment --scheme write-verify --max-pulses 500 --picture pulses.png",
    "hrat program network.deployment --measured readings -o real.chips",
)


def program(
    deployment: Annotated[Path, typer.Argument(metavar="DEPLOYMENT", help="File that hrat deploy wrote.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="File to write.", show_default="DEPLOYMENT's name with .chips"
        ),
    ] = None,
    chips: Annotated[int, typer.Option(min=1, help="Number of chips; they differ in their programming errors.")] = 20,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of the first chip; the others follow it.")] = 0,
    scheme: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="statistical, open-loop or write-verify.",
            autocompletion=completion.schemes,
            show_default="the hardware's, programming.scheme",
        ),
    ] = None,
    max_pulses: Annotated[
        int | None,
        typer.Option(min=0, help="Most pulses for one device.", show_default="the hardware's"),
    ] = None,
    measured: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Take chips that a lab has programmed and read, from tables like those of --csv."
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw targets, pulses and failures, as .png, .svg or .pdf."),
    ] = None,
    csv: CsvOption = None,
) -> None:
    """Program chips: by the error model that training draws from, pulse by pulse, or as a lab has read them."""
    import hrat
    from hrat.reports import artifact_table, figure_format, programming_figure

    if picture is not None:
        figure_format(picture)  # refused before the work, not after it
    target = hrat.Deployment.load(deployment)
    if measured is None:
        chip = hrat.program(target, seed=seed, chips=chips, scheme=scheme, max_pulses=max_pulses)
    elif scheme is not None or max_pulses is not None:
        raise HratError("--measured: these chips are programmed already; expected neither --scheme nor --max-pulses")
    else:
        chip = hrat.import_csv(target, measured)
    path = chip.save(output or deployment.with_suffix(".chips"))
    tell(**figures(chip))
    show(artifact_table(chip))
    if chip.has_pulses:
        say(str(chip.pulse_totals()))
    wrote([path])
    if picture is not None:
        wrote([programming_figure(chip, picture)])
    if csv is not None:
        wrote(hrat.export_csv(chip, csv))
    next_step("hrat", "simulate", path, "--data", "mnist5k")
