"""`hrat sweep`: grids and searches over the spec and training options."""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hrat.cli import completion
from hrat.cli.options import (
    DataOption,
    EpochsOption,
    LrOption,
    RecipeArgument,
    SetOption,
    SpecOption,
    changed_recipe,
    chosen_spec,
    given_seeds,
)
from hrat.cli.output import examples, note_warnings, picture, say, show, tell
from hrat.errors import HratError
from hrat.files import path_within
from hrat.seeds import MOST_SEED

__all__ = ["EXAMPLES", "sweep"]

EXAMPLES = examples(
    "hrat sweep fc4-mnist5k --vary weight_bits=2,3,4,5,6 --vary method=plain,hrat -o bits",
    "hrat sweep fc4-mnist5k --vary chip.sigma_rel=0:0.2:9 -o error          # trained once, on chips that differ",
    "hrat sweep fc4-mnist5k --vary v_read_V=0.1:0.5 --vary lr=log:1e-4:1e-2 --search bayes --trials 30 -o search",
    "hrat sweep lenet5-mnist --vary weight_bits=2,3,4 --seeds 0,1,2 --ray auto -o bits",
    "hrat sweep mine.toml --vary weight_bits=2,3,4 -o bits            # network and images of your own",
)


class SearchName(StrEnum):
    """Choice of points."""

    grid = "grid"
    random = "random"
    bayes = "bayes"


def sweep(
    recipe: RecipeArgument,
    vary: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=VALUES",
            help="What to vary: A,B,C or [log:]LOW:HIGH[:POINTS]. NAME is a field of the hardware (chip.NAME: of the "
            "chips alone), a training option, method, or a part of the recipe; repeatable.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FOLDER",
            help="Where runs, table and picture go.",
            show_default="runs/RECIPE-sweep",
        ),
    ] = None,
    search: Annotated[SearchName, typer.Option(help="Every combination, or a search.")] = SearchName.grid,
    trials: Annotated[int, typer.Option(min=1, help="Points of a search.")] = 20,
    spec: SpecOption = None,
    settings: SetOption = None,
    method: Annotated[
        str, typer.Option(help="Training method, unless it is varied.", autocompletion=completion.methods)
    ] = "hrat",
    seeds: Annotated[
        str, typer.Option(metavar="A,B,...", help="Seeds of training; each point is done with each.")
    ] = "0",
    chips: Annotated[int | None, typer.Option(min=1, help="Chips to test on, in place of the recipe's number.")] = None,
    held_out: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Training images held out for choices, so that none is made on test images.",
            show_default="none in a grid, a tenth in a search",
        ),
    ] = None,
    epochs: EpochsOption = None,
    lr: LrOption = None,
    data: DataOption = None,
    workers: Annotated[int, typer.Option("-j", "--workers", min=1, help="Processes.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Ray cluster in place of processes: HOST:PORT, auto, or local."),
    ] = None,
    search_seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of the points of a search.")] = 0,
) -> None:
    """Train and test at many points, and draw what comes out.

    What is known already is not done again: a sweep that was stopped, or is given more values, goes on in its folder.
    A trial whose worker is killed is done again.
    """
    from hrat.experiments import sweep as run_sweep
    from hrat.reports import sweep_table

    chosen = changed_recipe(recipe, data=data, epochs=epochs, lr=lr)
    hardware = chosen_spec(chosen, spec, settings)
    note_warnings(hardware)
    folder = output or path_within("runs", f"{chosen.name}-sweep")
    table = run_sweep(
        chosen,
        vary,
        folder,
        spec=hardware,
        method=method,
        search=search.value,
        trials=trials,
        seeds=given_seeds(seeds),
        chips=chips,
        held_out=held_out,
        workers=workers,
        ray=ray,
        search_seed=search_seed,
    )
    tell(**dataclasses.asdict(table))
    show(sweep_table(table))
    say(f"table: {folder / 'trials.parquet'}, {folder / 'trials.csv'}")
    if table.done:
        picture(folder / "sweep.png")
    if table.failed:
        raise HratError(
            f"{len(table.failed)} of {len(table.rows)} trials failed, the first with: {table.failed[0]['error']}\n"
            "The others are kept; the same command tries the failed ones again"
        )
