"""`hrat train`: train a recipe's network for its chip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrat.cli.options import (
    DataOption,
    EpochsOption,
    LrOption,
    RecipeArgument,
    SetOption,
    SpecOption,
    TrainingSeedOption,
    changed_recipe,
    chosen_spec,
    known_device,
)
from hrat.cli.output import examples, next_step, note_warnings

__all__ = ["EXAMPLES", "train"]

EXAMPLES = examples(
    "hrat train lenet5-mnist5k -o run",
    "hrat train lenet5-mnist5k -o run3 --spec yao2020 --set device.weight_bits=3 --epochs 10",
    "hrat train fc4-mnist5k -o plain --method plain",
)


def train(
    recipe: RecipeArgument,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FOLDER", help="Folder of the run.", show_default="runs/RECIPE-METHOD"),
    ] = None,
    spec: SpecOption = None,
    settings: SetOption = None,
    method: Annotated[
        str,
        typer.Option(help="Way to train: hrat, plain, variation-aware, hrat-unfused, hrat-fixed-scales, float."),
    ] = "hrat",
    epochs: EpochsOption = None,
    lr: LrOption = None,
    seed: TrainingSeedOption = 0,
    data: DataOption = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where to compute, as cpu or cuda.", show_default="cpu")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, even if the folder holds a run.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard logs into the folder.")] = False,
) -> None:
    """Train a network under the restrictions of the hardware.

    A run that was stopped goes on when the same command is given again.
    """
    from hrat.recipes import train as train_recipe
    from hrat.reports.words import duration, percent

    chosen = changed_recipe(recipe, data=data, epochs=epochs, lr=lr)
    hardware = chosen_spec(chosen, spec, settings)
    note_warnings(hardware)
    folder = output or Path("runs") / f"{chosen.name}-{method}"
    run = train_recipe(
        chosen,
        folder,
        method=method,
        spec=hardware,
        seed=seed,
        resume=not fresh,
        device=known_device(device),
        tensorboard=tensorboard,
        progress=True,
    )
    typer.echo(f"{percent(run.software)} of the test images right in software; trained in {duration(run.seconds)}")
    typer.echo(f"the run is in {run.folder}")
    next_step(f"hrat deploy {run.folder}")
