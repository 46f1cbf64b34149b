"""`hrat simulate`: accuracy of chips on test images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hrat.cli import completion
from hrat.cli.guard import UNSOLVED
from hrat.cli.options import DataOption, OffsetOption, OpampGainOption, WiresOption
from hrat.cli.output import examples, say, show, tell, wrote
from hrat.errors import HratError, NodeError

if TYPE_CHECKING:
    from hrat.simulation import Solver, SolverChoice

__all__ = ["EXAMPLES", "simulate"]

EXAMPLES = examples(
    "hrat simulate network.chips --data mnist5k",
    "hrat simulate network.chips --data mnist5k --limit 200 -o results.json",
    "hrat simulate network.chips --data mnist5k --solver nodal",
    "hrat simulate network.chips --data mnist5k --limit 20 --solver conv1=spice --solver '*=behavioural'",
)
BATCH = 500


def simulate(
    chip: Annotated[Path, typer.Argument(metavar="CHIPS", help="File that hrat program wrote.")],
    data: DataOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use the first N test images only.")] = None,
    solver: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME | LAYER=NAME",
            autocompletion=completion.solvers,
            help="How arrays are solved: behavioural, nodal (wires as the hardware has them) or spice (the circuit in "
            "ngspice); for all layers, or repeated for each. [default: behavioural]",
        ),
    ] = None,
    wires: WiresOption = None,
    opamp_gain: OpampGainOption = 1e5,
    offset: OffsetOption = 0.0,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write the figures to this file, as JSON.")
    ] = None,
) -> None:
    """Send the test images of a data set through programmed chips, and count what each chip gets right."""
    import hrat
    from hrat.reports import simulation_table
    from hrat.training.data import DATASET_NAMES, load_data, make_loader

    chips = hrat.ProgrammedChip.load(chip)
    if wires is not None:
        chips = chips.with_array(limit_wires=True, r_word_ohm=wires, r_bit_ohm=wires)
    if data is None:
        raise HratError(
            f"{chip} does not say which data its network is for; expected --data with one of {', '.join(DATASET_NAMES)}"
        )
    images = load_data(data).test
    loader = make_loader(images, BATCH)
    with _progress_bar(len(images) if limit is None else min(limit, len(images))) as advance:
        try:
            result = hrat.simulate(
                chips,
                loader,
                solver=_solvers(solver or ["behavioural"], opamp_gain, offset),
                limit=limit,
                keep_outputs=False,
                throw=False,
                progress=advance,
            )
        except NodeError as error:
            shape = " x ".join(map(str, images[0][0].shape))
            raise HratError(
                f"the network of {chip} cannot take the images of {data} ({shape}): {error}; expected the data that it "
                "was trained on"
            ) from error
    tell(**result.to_dict())
    show(simulation_table(result))
    say(str(result))
    if output is not None:
        wrote([result.save(output)])
    if result.failures:
        raise typer.Exit(UNSOLVED)


def _solvers(given: list[str], opamp_gain: float, offset_V: float) -> SolverChoice:
    """Argument `solver` of `hrat.simulate`, from `NAME` or several `LAYER=NAME`."""
    from hrat.simulation import SOLVERS, Amplifier, Spice

    spice = Spice(amplifier=Amplifier(gain=opamp_gain, offset_V=offset_V))
    pairs = [(layer.strip(), name.strip()) for layer, _, name in (text.rpartition("=") for text in given)]
    layers = [layer for layer, _ in pairs]
    if len(given) + given[0].count("=") > 1 and (not all(layers) or len(set(layers)) < len(layers)):
        raise HratError(
            f"--solver: expected one NAME, or LAYER=NAME for several layers, each once, got {', '.join(given)}"
        )
    for _, name in pairs:
        if name not in SOLVERS:
            raise HratError(f"--solver: expected one of {', '.join(SOLVERS)}, got {name!r}")
    chosen: dict[str, str | Solver] = {layer: spice if name == "spice" else name for layer, name in pairs}
    return chosen.get("", chosen)


@contextmanager
def _progress_bar(total: int) -> Iterator[Callable[[int, int | None], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TextColumn("images"), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("simulating", total=total)
        yield lambda done, _: bar.update(task, completed=done)
