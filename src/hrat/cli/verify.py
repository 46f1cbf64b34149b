"""`hrat verify`: one chip, from the formula of training down to the circuit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrat.cli.guard import UNSOLVED
from hrat.cli.options import DataOption, OffsetOption, OpampGainOption, WiresOption
from hrat.cli.output import examples, show, tell, wrote
from hrat.errors import HratError

__all__ = ["EXAMPLES", "verify"]

EXAMPLES = examples(
    "hrat verify network.chips --data mnist5k",
    "hrat verify network.chips --data mnist5k --limit 100 --opamp-gain 1e4 --offset 1e-3 -o verified",
    "hrat verify network.chips --data mnist5k --without-spice",
)


def verify(
    chip: Annotated[
        Path, typer.Argument(metavar="CHIPS", help="File that hrat program wrote; its first chip is taken.")
    ],
    data: DataOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Use the first N test images only.")] = 20,
    spice: Annotated[
        bool, typer.Option("--spice/--without-spice", help="Go down to the circuit, which needs ngspice.")
    ] = True,
    wires: WiresOption = None,
    opamp_gain: OpampGainOption = 1e5,
    offset: OffsetOption = 0.0,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FOLDER", help="Write figures and a picture to this folder."),
    ] = None,
) -> None:
    """Send the same images through a chip at every depth: formula, Kirchhoff's laws with wires, and SPICE.

    Tells for each layer how far the voltages lie apart and what it comes from, and how many images change their class.
    """
    import hrat
    from hrat.reports import verification_figure, verification_table
    from hrat.simulation import ladder
    from hrat.simulation import verify as verify_chip
    from hrat.training.data import DATASET_NAMES, load_data, make_loader

    chips = hrat.ProgrammedChip.load(chip)
    wires_added = bool(wires) and not chips.deployment.spec.array.limit_wires
    if wires is not None:
        chips = chips.with_array(limit_wires=True, r_word_ohm=wires, r_bit_ohm=wires)
    if data is None:
        raise HratError(
            f"{chip} does not say which data its network is for; expected --data with one of {', '.join(DATASET_NAMES)}"
        )
    loader = make_loader(load_data(data).test, limit)
    rungs = ladder(chips.deployment.spec, spice=spice, opamp_gain=opamp_gain, offset_V=offset, wires_added=wires_added)
    verification = verify_chip(
        chips, loader, rungs=rungs, limit=limit, progress=lambda name: typer.echo(f"{name} ...", err=True)
    )
    tell(**verification.to_dict(), sentences=verification.sentences())
    show(verification_table(verification))
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        wrote(
            [
                verification.save(output / "verification.json"),
                verification_figure(verification, output / "verification.png"),
            ]
        )
    if verification.failures:
        raise typer.Exit(UNSOLVED)
