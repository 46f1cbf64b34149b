"""`hrat simulate`: what the chips do with test images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from hrat.cli.options import DataOption
from hrat.cli.output import examples, show, wrote
from hrat.errors import HratError

__all__ = ["EXAMPLES", "simulate"]

EXAMPLES = examples(
    "hrat simulate network.chips --data mnist5k",
    "hrat simulate network.chips --data mnist5k --limit 200 -o results.json",
)
BATCH = 500


def simulate(
    chip: Annotated[Path, typer.Argument(metavar="CHIPS", help="File that hrat program wrote.")],
    data: DataOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first so many test images only.")] = None,
    solver: Annotated[str, typer.Option(help="How each array is computed.")] = "behavioural",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write the figures to this file, as JSON.")
    ] = None,
) -> None:
    """Send the test images of a data set through programmed chips, and count what each chip gets right."""
    import hrat
    from hrat.reports import simulation_table
    from hrat.training.data import DATASET_NAMES, load_data, make_loader

    chips = hrat.ProgrammedChip.load(chip)
    if data is None:
        raise HratError(
            f"{chip} does not say which data its network is for; expected --data with one of {', '.join(DATASET_NAMES)}"
        )
    images = load_data(data).test
    loader = make_loader(images, BATCH)
    with _progress_bar(len(images) if limit is None else min(limit, len(images))) as advance:
        try:
            result = hrat.simulate(chips, loader, solver=solver, limit=limit, keep_outputs=False, progress=advance)
        except RuntimeError as error:  # torch's word for shapes that do not fit
            shape = " x ".join(map(str, images[0][0].shape))
            raise HratError(
                f"the network of {chip} cannot take the images of {data} ({shape}): {error}; expected the data that it "
                "was trained on"
            ) from error
    show(simulation_table(result))
    typer.echo(str(result))
    if output is not None:
        wrote([result.save(output)])


@contextmanager
def _progress_bar(total: int) -> Iterator[Callable[[int, int | None], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TextColumn("images"), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("simulating", total=total)
        yield lambda done, _: bar.update(task, completed=done)
