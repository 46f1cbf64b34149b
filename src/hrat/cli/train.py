"""`hrat train`: train a recipe's network for its chip."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    known_device,
)
from hrat.cli.output import examples, next_step, note_warnings, say, tell
from hrat.files import path_within

if TYPE_CHECKING:
    from hrat.experiments import Recipe

__all__ = ["EXAMPLES", "train"]

EXAMPLES = examples(
    "hrat train lenet5-mnist5k -o run",
    "hrat train lenet5-mnist5k -o run3 --spec yao2020 --set device.weight_bits=3 --epochs 10",
    "hrat train fc4-mnist5k -o plain --method plain",
    "hrat train mine.toml -o mine --from trained.safetensors   # network, data and hardware of your own, fine-tuned",
    "hrat train vgg16-cifar10 -o vgg --amp --channels-last",
    "hrat train vgg16-cifar10 -o vgg --devices 4",
    "hrat train vgg16-cifar10 -o vgg --devices 8 --nodes 2 --rendezvous node0:29400",
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
        typer.Option(
            help="Training method: hrat, plain, variation-aware, variation-and-limits, hrat-unfused, "
            "hrat-fixed-scales, hrat-no-scales, float.",
            autocompletion=completion.methods,
        ),
    ] = "hrat",
    epochs: EpochsOption = None,
    lr: LrOption = None,
    seed: TrainingSeedOption = 0,
    data: DataOption = None,
    weights: FromOption = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where to compute, as cpu or cuda.", show_default="cpu")
    ] = None,
    devices: Annotated[
        int, typer.Option(metavar="N", help="Processes on this machine: one for each GPU, or for some cores of a CPU.")
    ] = 1,
    nodes: Annotated[int, typer.Option(metavar="N", help="Machines; the same command is given on each.")] = 1,
    rendezvous: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where several machines meet: an address of one of them.")
    ] = None,
    amp: AmpOption = None,
    channels_last: ChannelsLastOption = None,
    compile: CompileOption = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, even if the folder holds a run.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard logs into the folder.")] = False,
) -> None:
    """Train a network under the restrictions of the hardware.

    A run that was stopped goes on when the same command is given again. A recipe of your own, with any network
    (network = "mynet.py:Net") and a folder of images by class, is a file of a few lines: docs/howto/own-network.md.
    """
    from hrat.reports import duration, percent
    from hrat.training import join_ranks, launch

    chosen = changed_recipe(
        recipe, data=data, weights=weights, epochs=epochs, lr=lr, amp=amp, channels_last=channels_last, compile=compile
    )
    hardware = chosen_spec(chosen, spec, settings)
    note_warnings(hardware)
    folder = output or path_within("runs", f"{chosen.name}-{method}")
    known_device(device)
    together = devices * nodes > 1
    if together and device is None:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    options = {
        "method": method,
        "spec": hardware,
        "seed": seed,
        "resume": not fresh,
        "device": device,
        "tensorboard": tensorboard,
        "progress": True,
    }
    if together:
        outcome = launch(
            _train, chosen, folder, options, devices=devices, nodes=nodes, rendezvous=rendezvous, device=device
        )
    else:
        with join_ranks(device):  # those that torchrun has started, or none
            outcome = _train(chosen, folder, options)
    if outcome is None:  # on a machine whose ranks do not lead
        return
    without_error, seconds, place = outcome
    tell(accuracy_without_error=without_error, train_seconds=seconds, run=str(place))
    say(f"{percent(without_error)} of the test images right without programming error; trained in {duration(seconds)}")
    say(f"the run is in {place}")
    own = chosen.network_file
    code = () if own is None else ("--network", f"{own}:{chosen.network.rpartition(':')[2]}")
    next_step("hrat", "deploy", place, *code)


def _train(recipe: Recipe, folder: Path, options: dict[str, Any]) -> tuple[float, float, Path] | None:
    """Work of each rank; the leading one returns accuracy without programming error, seconds, folder."""
    from hrat.experiments import train as train_recipe
    from hrat.training import the_ranks

    run = train_recipe(recipe, folder, **options)
    return (run.accuracy_without_error, run.seconds, run.folder) if the_ranks().leads else None
