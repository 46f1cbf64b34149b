"""`hrat compare`: several training methods, on the same chips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrat.cli import completion
from hrat.cli.options import (
    AmpOption,
    ChannelsLastOption,
    CompileOption,
    DataOption,
    EpochsOption,
    FromOption,
    LrOption,
    RecipeArgument,
    SetOption,
    SpecOption,
    TrainingSeedOption,
    changed_recipe,
    chosen_spec,
)
from hrat.cli.output import examples, note_warnings, picture, say, show, tell
from hrat.files import path_within

__all__ = ["EXAMPLES", "compare"]

EXAMPLES = examples(
    "hrat compare lenet5-mnist5k -o comparison",
    "hrat compare fc4-mnist5k --spec generic-3bit-harsh --methods float,plain,hrat --epochs 10",
    "hrat compare mine.toml --from weights.pt --methods plain,hrat",
)


def compare(
    recipe: RecipeArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FOLDER",
            help="Where runs, table and picture go.",
            show_default="runs/RECIPE-compared",
        ),
    ] = None,
    spec: SpecOption = None,
    settings: SetOption = None,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Training methods, out of float, plain, variation-aware, variation-and-limits, "
            "hrat-unfused, hrat-fixed-scales, hrat-no-scales, hrat.",
            show_default="all",
            autocompletion=completion.methods,
        ),
    ] = None,
    chips: Annotated[int | None, typer.Option(min=1, help="Chips to program, in place of the recipe's number.")] = None,
    epochs: EpochsOption = None,
    lr: LrOption = None,
    seed: TrainingSeedOption = 0,
    data: DataOption = None,
    weights: FromOption = None,
    amp: AmpOption = None,
    channels_last: ChannelsLastOption = None,
    compile: CompileOption = None,
) -> None:
    """Train by each method, program the same chips from each, and compare what they get right.

    Runs that are finished are not trained again: a comparison that was stopped goes on with the same command.
    """
    from hrat.experiments import compare as compare_recipe
    from hrat.reports import comparison_table

    chosen = changed_recipe(
        recipe, data=data, weights=weights, epochs=epochs, lr=lr, amp=amp, channels_last=channels_last, compile=compile
    )
    hardware = chosen_spec(chosen, spec, settings)
    note_warnings(hardware)
    folder = output or path_within("runs", f"{chosen.name}-compared")
    names = None if methods is None else [name.strip() for name in methods.split(",") if name.strip()]
    comparison = compare_recipe(
        chosen, spec=hardware, methods=names, chips=chips, seed=seed, folder=folder, progress=True
    )
    tell(**comparison.to_dict())
    show(comparison_table(comparison))
    picture(folder / "comparison.png")
    say(f"figures: {folder / 'comparison.json'}, {folder / 'comparison.md'}")
