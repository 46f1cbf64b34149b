"""`hrat report`: one page that shows what a chip does, which restriction costs what, and what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrat.cli.options import DataOption
from hrat.cli.output import examples, say, tell, wrote
from hrat.errors import HratError
from hrat.seeds import MOST_SEED

__all__ = ["EXAMPLES", "report"]

BATCH = 500

EXAMPLES = examples(
    "hrat report run                                  # deploys, programs 20 chips, measures; run/report/report.html",
    "hrat report network.chips --data mnist5k -o page",
    "hrat report network.chips --data mnist5k --run run --verify 100",
    "hrat report run --budget budget.json --without-spice",
)


def report(
    path: Annotated[
        Path, typer.Argument(metavar="CHIPS|RUN", help="A finished run's folder, or a file that hrat program wrote.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FOLDER", help="Where to.", show_default="RUN/report, or CHIPS.report"),
    ] = None,
    data: DataOption = None,
    run: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The run that the chips come from, for the budget.")
    ] = None,
    chips: Annotated[int, typer.Option(min=1, help="Of a run: how many chips to program.")] = 20,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Of a run: seed of the first chip.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first so many test images only.")] = None,
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
) -> None:
    """Write one HTML page about chips or a run, which needs no network, with PNG, CSV and JSON beside it."""
    import hrat
    from hrat.artifacts import RestrictionBudget
    from hrat.artifacts.verification import Verification
    from hrat.experiments import load_run, report_parts
    from hrat.reports import write_report
    from hrat.training import load_data, make_loader
    from hrat.training.logs import Display

    is_run = path.is_dir()
    if is_run and run is not None:
        raise HratError(f"--run is for chips, but {path} is a folder; expected a file that hrat program wrote")
    # All that can be wrong with what was given is found before the work.
    given_budget = None if budget is None else RestrictionBudget.load(budget)
    given_verification = None if verification is None else Verification.load(verification)
    of_run = path if is_run else run
    source = None if of_run is None else load_run(of_run)
    if is_run and source is not None and data not in (None, source.recipe.data):
        raise HratError(f"--data is for chips; the run in {path} is of {source.recipe.data}")
    name = data if data is not None or source is None else source.recipe.data
    splits = None if name is None else load_data(name)
    chosen = None if is_run else hrat.ProgrammedChip.load(path)
    folder = output or (path / "report" if is_run else path.with_suffix(".report"))
    folder.mkdir(parents=True, exist_ok=True)
    with Display("report", 1) as display:

        def progress(what: str, done: int, total: int) -> None:
            display.expect(max(total, 1))
            display.step(done, what)

        if chosen is None:
            assert source is not None
            progress("programming", 0, 1)
            chosen = hrat.program(hrat.deploy(source.model), seed=seed, chips=chips)
        spec = chosen.deployment.spec.name
        train = None
        if splits is not None and source is not None and budget_images:
            train = make_loader(splits.train.subset(min(budget_images, len(splits.train))), BATCH)
        parts = report_parts(
            chosen,
            None if splits is None else make_loader(splits.test, BATCH),
            model=None if source is None else source.model,
            train=train,
            title=f"{path.stem} on {spec}" if not is_run or source is None else f"{source.recipe.name} on {spec}",
            limit=limit,
            budget=given_budget,
            verification=given_verification,
            verify_images=verify,
            spice=spice,
            seed=seed,
            software=None if source is None else source.software,
            training=[] if source is None else source.metrics(),
            facts={"from": path.name, **({"data": name} if name else {}), **({} if source is None else source.facts)},
            save_in=folder,
            progress=progress,
        )
        progress("writing the page", 0, 1)
        made = write_report(parts, folder, max_tiles=tiles)
    result, found = parts.result, parts.estimate
    tell(
        page=str(made[0]),
        mean=None if result is None else result.mean,
        worst=None if result is None else result.worst,
        software=parts.software,
        energy_J=None if found is None else found.energy_J,
        latency_s=None if found is None else found.latency_s,
        area_m2=None if found is None else found.area_m2,
        sentences=[] if parts.budget is None else parts.budget.sentences(),
        missing=dict(parts.missing),
    )
    if result is not None:
        say(str(result))
    for sentence in () if parts.budget is None else parts.budget.sentences():
        say(sentence)
    for what, why in parts.missing.items():
        say(f"not in the report: {what}, since {why}")
    wrote(made)
