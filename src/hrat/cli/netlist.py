"""`hrat netlist`: the circuit of a chip, for a circuit simulator."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hrat.cli.options import OffsetOption, OpampGainOption, WiresOption
from hrat.cli.output import examples, wrote
from hrat.errors import HratError
from hrat.files import path_within
from hrat.seeds import MOST_SEED

if TYPE_CHECKING:
    from hrat.artifacts import DeployedLayer

__all__ = ["EXAMPLES", "netlist"]

EXAMPLES = examples(
    "hrat netlist network.chips -o netlists",
    "hrat netlist network.chips -o netlists --layer fc1 --dialect ltspice --wires 1",
)


MOST_STEM = 200
"""Characters of a file's name in front of its suffix."""


class DialectName(StrEnum):
    """Dialect of SPICE."""

    ngspice = "ngspice"
    ltspice = "ltspice"
    xyce = "xyce"


def netlist(
    chip: Annotated[Path, typer.Argument(metavar="CHIPS", help="File that hrat program wrote.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the netlists go.")] = Path(
        "netlists"
    ),
    index: Annotated[int, typer.Option("--chip", min=0, help="Index of the chip in the file, from 0.")] = 0,
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", metavar="NAME", help="This layer only; repeatable. All of them otherwise."),
    ] = None,
    dialect: Annotated[DialectName, typer.Option(help="Dialect of SPICE.")] = DialectName.ngspice,
    inputs: Annotated[
        int, typer.Option(min=1, help="Number of random inputs, within the read threshold, in the netlist's sweep.")
    ] = 1,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of the random inputs.")] = 0,
    wires: WiresOption = None,
    opamp_gain: OpampGainOption = 1e5,
    offset: OffsetOption = 0.0,
) -> None:
    """Write the circuits of a chip as SPICE netlists, to open and to change.

    Fully connected layers that feed each other make one circuit; every group of a convolution makes one, to be driven
    with patches, and so does every row of tiles that have ADCs of their own. Each file says in comments what is what,
    and ends with a sweep over the inputs.
    """
    import torch

    import hrat
    from hrat.simulation import Amplifier
    from hrat.simulation.spice import SpiceOptions, circuit_layers, linear_chains, save_netlist

    chips = hrat.ProgrammedChip.load(chip)
    if index >= chips.n_chips:
        raise HratError(f"--chip: {chip} has {chips.n_chips} chip(s), counted from 0; got {index}")
    unknown = [name for name in layer or () if name not in chips.layers]
    if unknown:
        raise HratError(f"--layer: the chip has no layer {unknown[0]!r}; it has {', '.join(chips.layers)}")
    if wires is not None:
        chips = chips.with_array(limit_wires=True, r_word_ohm=wires, r_bit_ohm=wires)
    spec = chips.deployment.spec
    options = SpiceOptions(amplifier=Amplifier(gain=opamp_gain, offset_V=offset, seed=chips.seeds[index]))
    generator = torch.Generator().manual_seed(seed)
    output.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for chain in linear_chains(chips.deployment, layer or list(chips.layers)):
        for group, grid_row in _circuits(chips.deployment.layers[chain[0]]):
            layers = circuit_layers(chips, index, chain, group, grid_row)
            drawn = 2 * torch.rand(inputs, layers[0].rows, generator=generator, dtype=torch.float64) - 1
            inputs_V = (spec.device.v_read_V * drawn).numpy()
            stem = _stem([part.node for part in layers])
            again = sum(path.stem == stem or path.stem.startswith(f"{stem}~") for path in written)
            name = f"{stem}~{again + 1}" if again else stem  # `a.0` and `a_0` are both `a_0`
            path = path_within(output, name, suffix=".cir")
            written.append(save_netlist(path, layers, spec, inputs_V, options, dialect=dialect.value))
    wrote(written)


def _stem(nodes: list[str]) -> str:
    """The name of a chain's file: its layers, or the ends of a chain that is too long for the name of a file."""
    stem = "-".join(nodes)
    return stem if len(stem) <= MOST_STEM else f"{nodes[0][:90]}-to-{nodes[-1][:90]}-{len(nodes)}-layers"


def _circuits(layer: DeployedLayer) -> list[tuple[int, int | None]]:
    """The circuits that a layer is: by its groups, and by rows of tiles where each of these has ADCs of its own."""
    rows = [None] if layer.tile_adc_V is None else range(len(layer.tile_adc_V))
    return [(group, row) for group in range(layer.geometry.groups) for row in rows]
