"""A chain of layers as one SPICE netlist.

Names. A node is called after its place with letters, digits and `_` only, such as `layer1_out17`: `.` and `:` part the
levels of the hierarchy (ngspice and LTspice use the one or the other, Xyce the latter), and any other sign may be read
as an operator in an expression. Tiles and amplifiers are subcircuits, so that ngspice itself calls what lies inside of
them `xlayer1_tile0_2.b5_17`.

    layer1_in{k}     voltage that enters layer1 at input k, behind the read clamp
    layer1_inv{k}    the opposite of it
    layer1_sum{j}    summing node of output j, where the bit lines of all tiles that serve it end
    layer1_out{j}    amplifier output j
    layer1_first{j}  output of the amplifier that `I-` has in a two-stage read-out; its input is layer1_sumfirst{j}
    layer1_dac{j}    bias DAC

Inputs. One source `Vstep` counts them, and each word line of the first layer is a table of that count: a `.dc` sweep
then solves one input after the other, keeps the order of the factorisation and starts each from the one before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hrat.files import write_atomic
from hrat.simulation.spice.circuit import (
    CircuitLayer,
    Dialect,
    Floats,
    Readings,
    SpiceOptions,
    amplifier_of,
    check_chain,
    count_devices,
)
from hrat.simulation.spice.dialects import behavioural, check_dialect, comment, kept, options_lines, table
from hrat.simulation.spice.layer import LayerText
from hrat.spec import HardwareSpec

__all__ = ["ChainText", "netlist", "save_netlist"]


def netlist(
    layers: Sequence[CircuitLayer],
    spec: HardwareSpec,
    inputs_V: Floats,
    options: SpiceOptions | None = None,
    *,
    dialect: Dialect = "ngspice",
    klu: bool = True,
) -> str:
    """The circuit of a chain of layers, with a sweep over its inputs.

    Args:
        layers: each is fed by the one before.
        spec: tile size, wires, read-out, and the swing of first amplifiers; what bears on a layer alone stands there.
        inputs_V: voltages on the first layer's word lines, `(n, rows)`, V.
        options: amplifier and tolerances.
        dialect: dialect of SPICE.
        klu: ask ngspice for its quick solver.

    Raises:
        CircuitError: something does not fit.
    """
    options = options or SpiceOptions()
    inputs_V = np.asarray(inputs_V, dtype=np.float64)
    check_chain(layers, inputs_V)
    return "".join(ChainText.of(layers, spec, options, dialect=dialect, klu=klu).with_inputs(inputs_V))


def save_netlist(
    path: str | os.PathLike[str],
    layers: Sequence[CircuitLayer],
    spec: HardwareSpec,
    inputs_V: Floats,
    options: SpiceOptions | None = None,
    *,
    dialect: Dialect = "ngspice",
) -> Path:
    """Write what `netlist` returns, whole or not at all.

    Raises:
        CircuitError: something does not fit.
        OSError: the folder cannot be written or the disk is full.
    """
    return write_atomic(path, netlist(layers, spec, inputs_V, options, dialect=dialect))


@dataclass(frozen=True, kw_only=True)
class ChainText:
    """A netlist without its inputs, so that it is written once for many of them."""

    body: str
    outputs: tuple[tuple[str, ...], ...]
    """Output nodes of each layer."""
    first: CircuitLayer
    texts: tuple[LayerText, ...]
    options: SpiceOptions
    dialect: Dialect
    klu: bool

    @classmethod
    def of(
        cls,
        layers: Sequence[CircuitLayer],
        spec: HardwareSpec,
        options: SpiceOptions,
        *,
        dialect: Dialect = "ngspice",
        klu: bool = True,
        noisy_inputs: bool = False,
    ) -> ChainText:
        """Write the netlist without its inputs.

        With `noisy_inputs` the sources at the amplifiers' inputs come with the readings of `with_inputs`.
        """
        check_dialect(dialect)
        lines = [_title(layers, spec)]
        amplifier = amplifier_of(options.amplifier, spec)
        texts = tuple(LayerText(layer, spec, amplifier, dialect, noisy_inputs=noisy_inputs) for layer in layers)
        for before, text in zip([None, *layers], texts, strict=False):
            lines.extend(text.lines(before))
        body = "\n".join(lines) + "\n"
        outputs = tuple(tuple(f"{layer.node}_out{j}" for j in range(layer.cols)) for layer in layers)
        return cls(body=body, outputs=outputs, first=layers[0], texts=texts, options=options, dialect=dialect, klu=klu)

    def with_inputs(self, inputs_V: Floats, readings: Sequence[Readings] = ()) -> Iterator[str]:
        """The netlist in pieces, with a sweep over `inputs_V`, `(n, rows)`, V, and the readings of each layer."""
        yield self.body
        yield f"* ---- {len(inputs_V)} inputs, one for each volt of Vstep\nVstep step 0 0\n"
        node = self.first.node
        for k, values in enumerate(inputs_V.T.tolist()):
            source = table("step", values, self.dialect)
            yield behavioural(f"{node}_in{k}", f"{node}_in{k}", "0", "V", source, self.dialect) + "\n"
        for text, of_layer in zip(self.texts, readings, strict=False):
            for line in text.readings(of_layer):
                yield line + "\n"
        yield "\n".join(self._commands(len(inputs_V))) + "\n"

    def _commands(self, n_inputs: int) -> list[str]:
        nodes = [node for of_layer in self.outputs for node in of_layer]
        return [
            "* ---- what is computed",
            *options_lines(self.options, self.dialect, klu=self.klu, analysis="dc"),
            f".dc Vstep 0 {n_inputs - 1} 1",
            kept(nodes, self.dialect, analysis="dc"),
            ".end",
        ]


def _title(layers: Sequence[CircuitLayer], spec: HardwareSpec) -> str:
    array = spec.array
    wires = "ideal wires"
    if array.limit_wires:
        wires = (
            f"wires of {array.r_word_ohm:g} ohm a segment on word lines, {array.r_bit_ohm:g} ohm on bit lines, "
            f"drivers {array.r_driver_ohm:g} ohm, sensing {array.r_sense_ohm:g} ohm, driven at {array.drive}"
        )
    return "\n".join(
        [
            comment(f"{spec.name}: {', '.join(layer.name for layer in layers)}"),
            f"* {count_devices(layers)} memristors on tiles of {array.rows} inputs x {array.cols} outputs, "
            f"{spec.periphery.readout} read-out",
            f"* {wires}",
            "* Amplifiers invert: word lines carry the opposite of the signal, outputs are positive by convention.",
        ]
    )
