"""Options that several verbs share, and their evaluation."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hrat.cli import completion
from hrat.errors import HratError
from hrat.seeds import MOST_SEED, check_seed

if TYPE_CHECKING:
    from hrat.experiments import Recipe
    from hrat.spec import HardwareSpec

__all__ = [
    "AmpOption",
    "ChannelsLastOption",
    "CompileOption",
    "CsvOption",
    "DataOption",
    "EpochsOption",
    "FromOption",
    "LrOption",
    "NetworkOption",
    "OffsetOption",
    "OpampGainOption",
    "RecipeArgument",
    "SetOption",
    "SpecOption",
    "TrainingSeedOption",
    "WiresOption",
    "changed_recipe",
    "chosen_spec",
    "known_device",
    "spec_with",
]

RecipeArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="Name of a recipe (see hrat recipes), or a TOML file.",
        autocompletion=completion.recipes,
    ),
]
SpecOption = Annotated[
    str | None,
    typer.Option(
        "--spec",
        metavar="NAME|FILE",
        help="Hardware in place of the recipe's: a preset or a TOML file.",
        autocompletion=completion.specs,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a value of the hardware, as device.weight_bits=3; repeatable.",
        autocompletion=completion.fields,
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME",
        help="mnist5k (no download), mnist, fashion-mnist, cifar10, cifar100, or a folder (train/CLASS/*.png).",
        autocompletion=completion.data,
    ),
]
EpochsOption = Annotated[
    int | None, typer.Option("--epochs", min=1, help="Passes over the data, in place of the recipe's.")
]
LrOption = Annotated[float | None, typer.Option("--lr", help="Peak learning rate, in place of the recipe's.")]
AmpOption = Annotated[
    bool | None,
    typer.Option("--amp/--no-amp", help="Compute products in bfloat16, or never.", show_default="as the recipe says"),
]
ChannelsLastOption = Annotated[
    bool | None,
    typer.Option(
        "--channels-last/--no-channels-last",
        help="Keep images and kernels in the layout that suits bfloat16 and GPUs.",
        show_default="as the recipe says",
    ),
]
CompileOption = Annotated[
    bool | None,
    typer.Option("--compile/--no-compile", help="Compile the training step.", show_default="as the recipe says"),
]
FromOption = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="WEIGHTS|RUN",
        help="Weights to start from: .safetensors or .pt of the plain network, or the folder of a run without a chip.",
    ),
]
NetworkOption = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="FILE.py:NAME",
        help="For a run with a network of your own: its code, which is run only where you name it.",
    ),
]
TrainingSeedOption = Annotated[
    int,
    typer.Option("--seed", min=0, max=MOST_SEED, help="Seed of weights, order of images, and errors in training."),
]
WiresOption = Annotated[
    float | None,
    typer.Option(
        "--wires", min=0, metavar="OHM", help="Resistance of each wire segment, in place of what the hardware says."
    ),
]
OpampGainOption = Annotated[float, typer.Option("--opamp-gain", min=1, help="For spice: open-loop gain of amplifiers.")]
OffsetOption = Annotated[
    float,
    typer.Option("--offset", min=0, metavar="V", help="For spice: standard deviation of the amplifiers' input offset."),
]
CsvOption = Annotated[
    Path | None,
    typer.Option("--csv", metavar="FOLDER", help="Write plain tables too: conductances, DAC codes, resistances."),
]


def given_seeds(text: str) -> list[int]:
    """The whole numbers of `--seeds 0,1,2`.

    Raises:
        HratError: another text, or a number that is no seed.
    """
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise HratError(f"--seeds: expected whole numbers as 0,1,2; got {text!r}") from error
    return [check_seed(number, "--seeds") for number in numbers]


def changed_recipe(
    name: str, *, data: str | None = None, weights: Path | None = None, **fit: float | bool | None
) -> Recipe:
    """A recipe with what the command line gives in place of its own; `fit` are training options, None as it says."""
    from hrat.experiments import load_recipe

    recipe = load_recipe(name)
    given = {key: value for key, value in fit.items() if value is not None}
    if given:
        recipe = recipe.with_fit(**given)
    if weights is not None:
        recipe = recipe.with_weights(weights)
    return recipe if data is None else dataclasses.replace(recipe, data=data)


def chosen_spec(recipe: Recipe, name: str | None, settings: list[str] | None) -> HardwareSpec:
    """The hardware of a recipe, or the one named in its place, with single values changed."""
    return spec_with(recipe.spec if name is None else name, settings)


def spec_with(name: str, settings: list[str] | None) -> HardwareSpec:
    """A preset or a file, with `key=value` settings on top; of a key that is given twice the last one counts."""
    from hrat.spec import load_spec, parse_assignment

    return load_spec(name, dict(parse_assignment(text) for text in settings or ()))


def known_device(name: str | None) -> str | None:
    """The name of a torch device that is there.

    Raises:
        HratError: torch does not know it, or this machine lacks it.
    """
    if name is None:
        return None
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise HratError(f"--device {name} cannot be used: {reason}; take cpu, or leave --device out") from error
    return name
