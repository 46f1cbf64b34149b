"""`hrat budget`: what each restriction costs a trained network, and which number to change."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from hrat.cli.options import NetworkOption, SetOption
from hrat.cli.output import examples, show, tell, wrote
from hrat.seeds import MOST_SEED

__all__ = ["EXAMPLES", "budget"]

EXAMPLES = examples(
    "hrat budget run --picture budget.png",
    "hrat budget run --set bias_dac_bits=3 --chips 20      # the same network on other hardware",
    "hrat budget run -o budget.json --csv budget.csv",
    "hrat budget mine --network mynet.py:Net",
)


def budget(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run, as `hrat train -o` wrote it.")],
    settings: SetOption = None,
    images: Annotated[int, typer.Option(min=1, help="Training images to measure on.")] = 2000,
    chips: Annotated[int, typer.Option(min=1, help="Chips, for the error bars.")] = 10,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of the first chip.")] = 0,
    test: Annotated[
        bool, typer.Option("--test", help="Measure on test images: to report, and not to choose by.")
    ] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write all figures.")] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the costs and steps as a table.")] = None,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it: .png, .svg or .pdf.")] = None,
    network: NetworkOption = None,
) -> None:
    """The restriction budget: what each restriction costs, alone and in the full set, and what would help.

    It ends with the one number of the spec whose change would win most, verified on other chips. The images are of the
    training set, since it is there to choose by.
    """
    from hrat.experiments import load_run, restriction_budget
    from hrat.reports import budget_figure, budget_table, figure_format
    from hrat.spec import parse_assignment
    from hrat.training import Display, load_data, make_loader

    if picture is not None:
        figure_format(picture)  # refused now, and not when all is done
    loaded = load_run(run, network=network)
    spec = loaded.spec.replace(dict(parse_assignment(text) for text in settings or ()))
    data = load_data(loaded.recipe.data)
    part = data.test if test else data.train
    loader = make_loader(part.subset(min(images, len(part))), 500)
    with Display("restriction budget", 1) as display:

        def progress(done: int, total: int, what: str) -> None:
            display.expect(total)
            display.step(done, what)

        measured = restriction_budget(loaded.model, loader, spec=spec, chips=chips, seed=seed, progress=progress)
    tell(**dataclasses.asdict(measured), sentences=measured.sentences())
    show(budget_table(measured))
    if output is not None:
        wrote([measured.save(output)])
    if csv is not None:
        wrote([measured.save_csv(csv)])
    if picture is not None:
        wrote([budget_figure(measured, picture)])
