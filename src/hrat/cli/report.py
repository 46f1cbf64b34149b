"""`hrat report`: one page that shows what a chip does, which restriction costs what, and what to change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hrat.cli.options import DataOption, NetworkOption
from hrat.cli.output import examples, say, tell, wrote
from hrat.seeds import MOST_SEED

if TYPE_CHECKING:
    from hrat.experiments import WrittenReport

__all__ = ["EXAMPLES", "report"]

EXAMPLES = examples(
    "hrat report run                                  # deploys, programs 20 chips, measures; run/report/report.html",
    "hrat report network.chips --data mnist5k -o page",
    "hrat report network.chips --data mnist5k --run run --verify 100",
    "hrat report run --budget budget.json --without-spice",
    "hrat report mine --network mynet.py:Net",
)


def report(
    path: Annotated[
        Path, typer.Argument(metavar="CHIPS|RUN", help="A finished run's folder, or a file that hrat program wrote.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FOLDER", help="Output folder.", show_default="RUN/report, or CHIPS.report"
        ),
    ] = None,
    data: DataOption = None,
    run: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The run that the chips come from, for the budget.")
    ] = None,
    chips: Annotated[int, typer.Option(min=1, help="For a run: number of chips to program.")] = 20,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="For a run: seed of the first chip.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Use the first N test images only.")] = None,
    budget: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A restriction budget that hrat budget -o wrote.")
    ] = None,
    budget_images: Annotated[
        int, typer.Option(min=0, help="Training images for the restriction budget; 0 leaves it out.")
    ] = 2000,
    verification: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The verification.json that hrat verify -o wrote.")
    ] = None,
    verify: Annotated[
        int, typer.Option(min=0, help="Test images for the comparison with the circuit; 0 leaves it out.")
    ] = 20,
    spice: Annotated[
        bool, typer.Option("--spice/--without-spice", help="Go down to the circuit, which needs ngspice.")
    ] = True,
    tiles: Annotated[int, typer.Option(min=0, help="Tiles whose conductances the page holds.")] = 2000,
    network: NetworkOption = None,
) -> None:
    """Write one HTML page about chips or a run, which needs no network, with PNG, CSV and JSON beside it."""
    from hrat.experiments import read_report_source
    from hrat.training import Display

    source = read_report_source(
        path, output, run=run, data=data, budget=budget, verification=verification, network=network
    )
    with Display("report", 1) as display:

        def progress(what: str, done: int, total: int) -> None:
            display.expect(max(total, 1))
            display.step(done, what)

        written = source.write(
            chips=chips,
            seed=seed,
            limit=limit,
            budget_images=budget_images,
            verify_images=verify,
            spice=spice,
            max_tiles=tiles,
            progress=progress,
        )
    _say_what_came_out(written)


def _say_what_came_out(report: WrittenReport) -> None:
    parts = report.parts
    result, estimate = parts.result, parts.estimate
    tell(
        page=str(report.files[0]),
        mean=None if result is None else result.mean,
        worst=None if result is None else result.worst,
        accuracy_without_error=parts.accuracy_without_error,
        energy_J=None if estimate is None else estimate.energy_J,
        latency_s=None if estimate is None else estimate.latency_s,
        area_m2=None if estimate is None else estimate.area_m2,
        sentences=[] if parts.budget is None else parts.budget.sentences(),
        missing=dict(parts.missing),
    )
    if result is not None:
        say(str(result))
    for sentence in () if parts.budget is None else parts.budget.sentences():
        say(sentence)
    for what, why in parts.missing.items():
        say(f"not in the report: {what}, since {why}")
    wrote(report.files)
