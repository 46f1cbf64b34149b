"""`hrat reproduce`: the experiments of the method, with tables and pictures."""

from __future__ import annotations

import dataclasses
import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hrat.cli import completion
from hrat.cli.options import EpochsOption, SpecOption, given_seeds
from hrat.cli.output import examples, say, tell

__all__ = ["EXAMPLES", "reproduce"]

EXAMPLES = examples(
    "hrat reproduce fc4 --short -j 2",
    "hrat reproduce fc4 -o experiments/fc4 -j 2                # full MNIST",
    "hrat reproduce lenet5 --part restriction --part weight_bits -j 4",
    "hrat reproduce vgg16 --ray auto                           # on the GPUs of a cluster",
)


class ExperimentName(StrEnum):
    """A network of the method's publication."""

    fc4 = "fc4"
    lenet5 = "lenet5"
    vgg16 = "vgg16"


def reproduce(
    experiment: Annotated[ExperimentName, typer.Argument(help="Which network.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FOLDER", help="Output folder.", show_default="experiments/EXPERIMENT"),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="restriction, weight_bits, sigma_rel, v_read_V, v_swing_V, bias_dac_bits or input_dac_bits; "
            "repeatable.",
            show_default="all",
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...", help="Training methods.", show_default="all", autocompletion=completion.methods
        ),
    ] = None,
    spec: SpecOption = None,
    short: Annotated[bool, typer.Option("--short", help="The form that takes minutes on a CPU.")] = False,
    epochs: EpochsOption = None,
    seeds: Annotated[str, typer.Option(metavar="A,B,...", help="Seeds of training.")] = "0",
    chips: Annotated[int | None, typer.Option(min=1, help="Chips to test on, in place of the recipe's number.")] = None,
    workers: Annotated[int, typer.Option("-j", "--workers", min=1, help="Processes.")] = 1,
    ray: Annotated[str | None, typer.Option(metavar="ADDRESS", help="A Ray cluster in place of processes.")] = None,
) -> None:
    """Every restriction alone and all together, over what hardware may differ in, for every training method.

    Results that are there already are not made again: what was stopped goes on with the same command.
    """
    from hrat.experiments import reproduce as run_experiment

    numbers = given_seeds(seeds)
    folder = output or Path("experiments") / experiment.value
    words = ["hrat", "reproduce", experiment.value, *(["--short"] if short else [])]
    words += [word for name in part or () for word in ("--part", name)]
    for option, value in (("--methods", methods), ("--spec", spec), ("--epochs", epochs), ("--chips", chips)):
        words += [option, str(value)] if value is not None else []
    words += ["--seeds", seeds] if seeds != "0" else []
    tables = run_experiment(
        experiment.value,
        folder,
        parts=part,
        methods=None if methods is None else [name.strip() for name in methods.split(",")],
        spec=spec,
        short=short,
        epochs=epochs,
        seeds=numbers,
        chips=chips,
        workers=workers,
        ray=ray,
        command=shlex.join(words),
    )
    tell(parts={part: dataclasses.asdict(table) for part, table in tables.items()})
    say(f"tables and pictures: {folder / f'{experiment.value}.md'}")
