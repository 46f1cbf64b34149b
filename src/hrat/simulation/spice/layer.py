"""One layer as netlist lines: read clamps, rails, tiles, read-out and bias DACs. Names: see `netlist`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from hrat.encoding import Readout, tile_grid
from hrat.simulation.spice.circuit import Amplifier, CircuitLayer, Dialect, Floats, first_limit_V, physical_grid
from hrat.simulation.spice.dialects import comment, number, wrapped
from hrat.simulation.spice.parts import clamp, inverter, transimpedance
from hrat.simulation.spice.tile import tile_subcircuit
from hrat.spec import HardwareSpec

__all__ = ["LayerText"]


@dataclass(frozen=True)
class LayerText:
    """The lines of one layer."""

    layer: CircuitLayer
    spec: HardwareSpec
    amplifier: Amplifier
    dialect: Dialect
    dynamic: bool = False
    c_node_F: float = 0.0
    memristor: str | None = None
    """Name of the subcircuit that the devices are, where they are no resistors."""

    def lines(self, before: CircuitLayer | None) -> Iterator[str]:
        """The lines of the whole layer.

        Args:
            before: the layer that feeds it; None where its inputs are driven from outside.
        """
        layer, node = self.layer, self.layer.node
        yield comment(f"==== {layer.name}: {layer.rows} inputs, {layer.cols} outputs, R_f = {layer.r_f_ohm:g} ohm")
        if before is not None:
            yield from self._entrance(before)
        for k in range(layer.rows):
            yield inverter(f"{node}_inv{k}", f"{node}_in{k}", f"{node}_inv{k}")
        yield from self._tiles()
        yield from self._amplifiers()
        if layer.bias_V is not None:
            yield from self._biases(layer.bias_V)

    def _entrance(self, before: CircuitLayer) -> Iterator[str]:
        """Outputs of the layer before, clamped to voltages that leave the memristors unchanged."""
        limit = "no read clamp" if math.isinf(before.clamp_V) else f"read clamp at +-{before.clamp_V:g} V"
        yield comment(f"---- from {before.name}, {limit}")
        node = self.layer.node
        for k in range(self.layer.rows):
            yield clamp(f"{node}_in{k}", f"{before.node}_out{k}", f"{node}_in{k}", before.clamp_V, self.dialect)

    def _tiles(self) -> Iterator[str]:
        grid_S = physical_grid(self.layer, self.spec)
        for name, rows, cols in self.tiles():
            yield f"* ---- {name}: word lines {rows.start}..{rows.stop - 1}, bit lines {cols.start}..{cols.stop - 1}"
            yield from tile_subcircuit(
                name, grid_S[rows, cols], self.spec.array, c_node_F=self.c_node_F, memristor=self.memristor
            )
            pins = [self._word_line(i) for i in range(rows.start, rows.stop)]
            pins += [self._bit_line(j) for j in range(cols.start, cols.stop)]
            yield wrapped([f"X{name}", *pins, name])

    def tiles(self) -> Iterator[tuple[str, slice, slice]]:
        """Name of each tile's subcircuit, and the lines of the physical grid that it holds."""
        for tile in tile_grid((1, self.layer.lines, self.layer.cols), self.spec.array):
            yield (f"{self.layer.node}_{tile.name}", *self.readout.grid_lines(tile))

    @property
    def readout(self) -> Readout:
        """Where devices lie, and which amplifiers there are."""
        return Readout.of(self.spec)

    def _word_line(self, i: int) -> str:
        """Node that drives line i of the physical grid: it carries the opposite of the signal, as amplifiers invert."""
        k, inverted = self.readout.word_line(i)
        if self.layer.row_inputs is not None:
            k = self.layer.row_inputs[k]
        return f"{self.layer.node}_in{k}" if inverted else f"{self.layer.node}_inv{k}"

    def _bit_line(self, j: int) -> str:
        """Where bit line j of the physical grid ends."""
        k, is_inner = self.readout.bit_line(j, self.layer.cols)
        if self.layer.col_outputs is not None:
            k = self.layer.col_outputs[k]
        return f"{self.layer.node}_sumfirst{k}" if is_inner else f"{self.layer.node}_sum{k}"

    def _amplifiers(self) -> Iterator[str]:
        layer, node, amplifier = self.layer, self.layer.node, self.amplifier
        limits_V = layer.limits_V
        yield f"* ---- read-out, outputs from {limits_V[0]:g} to {limits_V[1]:g} V"
        yield transimpedance(f"{node}_tia", layer.r_f_ohm, limits_V, amplifier, self.dialect, dynamic=self.dynamic)
        if self.readout.inner_amplifiers:
            yield from self._first_amplifiers()
        offsets_V = amplifier.offsets_V(node, layer.cols)
        for j in range(layer.cols):
            yield from self._stage(f"out{j}", f"{node}_sum{j}", f"{node}_out{j}", f"{node}_tia", float(offsets_V[j]))

    def _first_amplifiers(self) -> Iterator[str]:
        """`I-` through amplifiers of its own, whose outputs feed the summing nodes through R_f each."""
        layer, node, amplifier = self.layer, self.layer.node, self.amplifier
        limit_V = first_limit_V(self.spec)
        name = f"{node}_tiafirst"
        yield transimpedance(name, layer.r_f_ohm, (-limit_V, limit_V), amplifier, self.dialect, dynamic=self.dynamic)
        feeds = self.readout.inner_feeds(layer.cols)
        offsets_V = amplifier.offsets_V(f"{node}_first", len(feeds))
        for k, outputs in enumerate(feeds):
            yield from self._stage(f"first{k}", f"{node}_sumfirst{k}", f"{node}_first{k}", name, float(offsets_V[k]))
            for j in outputs:
                yield f"R{node}_first{j} {node}_first{k} {node}_sum{j} {number(layer.r_f_ohm)}"

    def _stage(self, mark: str, summing: str, output: str, subcircuit: str, offset_V: float) -> Iterator[str]:
        reference = "0"
        if offset_V:
            reference = f"{self.layer.node}_offset_{mark}"
            yield f"V{reference} {reference} 0 {number(offset_V)}"
        yield f"X{self.layer.node}_{mark} {reference} {summing} {output} {subcircuit}"

    def _biases(self, bias_V: Floats) -> Iterator[str]:
        node = self.layer.node
        yield "* ---- bias DACs, through resistors of R_f"
        for j, value_V in enumerate(bias_V.tolist()):
            yield f"V{node}_dac{j} {node}_dac{j} 0 {number(-value_V)}"
            yield f"R{node}_dac{j} {node}_dac{j} {node}_sum{j} {number(self.layer.r_f_ohm)}"
