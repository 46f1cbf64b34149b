"""`hrat device`: a memristor of one's own, from its measurements; and what a device does, in words and as a picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hrat.cli import completion
from hrat.cli.options import SetOption, spec_with
from hrat.cli.output import examples, next_step, note_warnings, say, show, tell, warn, wrote
from hrat.errors import HratError
from hrat.seeds import MOST_SEED

if TYPE_CHECKING:
    from hrat.measurements import DeviceFit

__all__ = ["device_app"]

device_app = typer.Typer(
    no_args_is_help=True, help="Fit a device to measurements, and look at devices.", rich_markup_mode="rich"
)

PictureOption = Annotated[
    Path | None, typer.Option("--picture", metavar="FILE", help="Draw it, as .png, .svg or .pdf.")
]


class ModelName(StrEnum):
    """Pulse model."""

    auto = "auto"
    soft_bounds = "soft_bounds"
    linear_step = "linear_step"
    jump_table = "jump_table"


@device_app.command(
    "fit",
    epilog=examples(
        "hrat device fit sweep.csv retention.csv -o mine.toml --picture fit.png",
        "hrat device fit --example -o example.toml",
    ),
)
def fit_csv(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="CSV...", help="Pulse sweeps, retention or write-verify records; headers name the units."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="TOML file to write, a spec like any preset.")
    ] = None,
    picture: PictureOption = None,
    base: Annotated[
        str, typer.Option("--base", metavar="NAME|FILE", help="Spec for all that is not measured.")
    ] = "generic-4bit",
    model: Annotated[ModelName, typer.Option(help="Pulse model; auto chooses it by the data.")] = ModelName.auto,
    name: Annotated[
        str | None, typer.Option(help="Name of the spec; that of the output or first CSV file otherwise.")
    ] = None,
    accept_poor: Annotated[
        bool,
        typer.Option("--accept-poor", help="Accept a device fit that is refused; its faults become warnings."),
    ] = False,
    example: Annotated[
        bool, typer.Option("--example", help="Fit the example files that come with hrat, which are synthetic.")
    ] = False,
) -> None:
    """Fit a device to a lab's CSV files, and write it as a spec.

    Every figure comes with its standard error. Rows that are no measurements are left out, and counted. A fit that
    is not to be trusted is refused with its reasons.
    """
    from hrat.measurements import EXAMPLES, example_csv, fit_device
    from hrat.reports import figure_format

    if picture is not None:
        figure_format(picture)  # refused before the work, not after it
    if bool(files) == example:
        raise HratError("expected CSV files, or --example and none" if example else "expected CSV files, or --example")
    chosen = [example_csv(part) for part in EXAMPLES] if example else files or []
    title = name or (output.stem if output else "synthetic-example" if example else None)
    with _progress() as progress:
        fit = fit_device(chosen, base=base, model=model.value, name=title, accept_poor=accept_poor, progress=progress)
    _report(fit)
    written = [] if output is None else [fit.save(output)]
    if picture is not None:
        from hrat.reports import device_figure

        written.append(device_figure(fit, picture))
    wrote(written)
    if output is not None:
        next_step("hrat", "train", "lenet5-mnist5k", "--spec", output)


@device_app.command(
    "show", epilog=examples("hrat device show wan2022 --picture wan2022.png", "hrat device show mine.toml")
)
def show_device(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE", help="A preset (see hrat spec list), or a TOML file.", autocompletion=completion.specs
        ),
    ],
    settings: SetOption = None,
    picture: PictureOption = None,
) -> None:
    """Describe a device: its window, its pulses, its retention, its errors."""
    from hrat.reports import figure_format

    if picture is not None:
        figure_format(picture)  # refused before the work, not after it
    chosen = spec_with(spec, settings)
    from hrat.reports import device_figure, device_sentences

    tell(spec=chosen.to_dict())
    say(f"{chosen.name}: {chosen.description}" if chosen.description else chosen.name)
    for sentence in device_sentences(chosen):
        say(f"  {sentence}")
    if picture is not None:
        wrote([device_figure(chosen, picture)])


def _report(fit: DeviceFit) -> None:
    from hrat.reports import fit_table

    tell(spec=fit.spec.to_dict(), parameters=[dataclasses.asdict(parameter) for parameter in fit.parameters])
    show(fit_table(fit))
    for report in fit.cleaning:
        for sentence in report.sentences():
            say(sentence)
    for warning in fit.warnings:
        warn(warning)


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """A progress bar for each task, on a terminal only; removed at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not Console(stderr=True).is_terminal,
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: float) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=1.0)
            bars.update(tasks[what], completed=done)

        yield tell


@device_app.command(
    "characterise",
    epilog=examples(
        "hrat device characterise yao2020 --scheme write-verify --max-pulses 20 -o yao20.toml --picture table.png",
        "hrat train lenet5-mnist5k -o run --spec yao20.toml",
    ),
)
def characterise_device(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE", help="A preset (see hrat spec list), or a TOML file.", autocompletion=completion.specs
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="TOML file to write: the spec with the table in it."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the spec; that of the output file otherwise.")] = None,
    scheme: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="write-verify or open-loop.",
            show_default="the spec's, programming.scheme",
            autocompletion=completion.schemes,
        ),
    ] = None,
    max_pulses: Annotated[
        int | None, typer.Option(min=0, help="Most pulses for one device.", show_default="the spec's")
    ] = None,
    devices: Annotated[int, typer.Option(min=100, help="Virtual devices for each state.")] = 20_000,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of their differences and of the pulses.")] = 0,
    picture: PictureOption = None,
    settings: SetOption = None,
) -> None:
    """Find what pulses reach: for each target state the distribution of conductances, for training to draw from."""
    import hrat
    from hrat.reports import characterisation_figure, figure_format

    if picture is not None:
        figure_format(picture)  # refused before the work, not after it
    table = hrat.characterise(
        spec_with(spec, settings), scheme=scheme, max_pulses=max_pulses, devices=devices, seed=seed
    )
    tell(spec=table.spec.to_dict())
    say(str(table))
    note_warnings(table.spec)
    if output is not None:
        wrote([table.spec.replace({"name": name or output.stem}).save(output)])
    if picture is not None:
        wrote([characterisation_figure(table, picture)])
    if output is not None:
        next_step("hrat", "train", "lenet5-mnist5k", "-o", "run", "--spec", output)
