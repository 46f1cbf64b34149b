"""One layer as netlist lines: read clamps, rails, tiles, read-out and bias DACs. Names: see `netlist`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from hrat.encoding import Readout, tile_grid
from hrat.physics import amplifier_limits_V, is_curved
from hrat.simulation.spice.circuit import Amplifier, CircuitLayer, Dialect, Floats, Readings, physical_grid
from hrat.simulation.spice.dialects import behavioural, comment, number, table, wrapped
from hrat.simulation.spice.parts import clamp, input_error_kind, inverter, transimpedance
from hrat.simulation.spice.tile import tile_subcircuit
from hrat.spec import HardwareSpec

__all__ = ["LayerText"]


def reference_node(layer: CircuitLayer, mark: str) -> str:
    """Node of the input of an amplifier that is at 0 V but for offset and noise."""
    return f"{layer.node}_offset_{mark}"


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
    noisy_inputs: bool = False
    """Whether `readings` brings the sources at the amplifiers' inputs."""

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
                name,
                grid_S[rows, cols],
                self.spec.array,
                c_node_F=self.c_node_F,
                memristor=self.memristor,
                curvature_V=self.spec.device.curvature_V if is_curved(self.spec.device) else None,
                dialect=self.dialect,
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
        layer, node = self.layer, self.layer.node
        limits_V = layer.limits_V
        yield f"* ---- read-out, outputs from {limits_V[0]:g} to {limits_V[1]:g} V"
        offsets_V = self._offsets_V(0, node, layer.cols)
        stages = [(f"out{j}", f"{node}_sum{j}", f"{node}_out{j}") for j in range(layer.cols)]
        yield from self._stages(0, f"{node}_tia", limits_V, stages, offsets_V)
        if self.readout.inner_amplifiers:
            yield from self._first_amplifiers()

    def _first_amplifiers(self) -> Iterator[str]:
        """`I-` through amplifiers of its own, whose outputs feed the summing nodes through R_f each."""
        layer, node = self.layer, self.layer.node
        feeds = self.readout.inner_feeds(layer.cols)
        offsets_V = self._offsets_V(1, f"{node}_first", len(feeds))
        stages = [(f"first{k}", f"{node}_sumfirst{k}", f"{node}_first{k}") for k in range(len(feeds))]
        yield from self._stages(1, f"{node}_tiafirst", amplifier_limits_V(self.spec.periphery), stages, offsets_V)
        for k, outputs in enumerate(feeds):
            for j in outputs:
                yield f"R{node}_first{j} {node}_first{k} {node}_sum{j} {number(layer.r_f_ohm)}"

    def _offsets_V(self, term: int, drawn_for: str, count: int) -> Floats:
        """Offsets of a term's amplifiers: the chip's, or those that the options draw."""
        return self.layer.offsets_V(term, count) + self.amplifier.offsets_V(drawn_for, count)

    def _stages(
        self,
        term: int,
        subcircuit: str,
        limits_V: tuple[float, float],
        stages: list[tuple[str, str, str]],
        offsets_V: Floats,
    ) -> Iterator[str]:
        """Amplifiers of one term, each `(mark, summing node, output)`; a subcircuit each where resistors differ."""
        errors = self.layer.r_f_errors(term)
        if errors is None:
            yield self._transimpedance(subcircuit, self.layer.r_f_ohm, limits_V)
        for k, (mark, summing, output) in enumerate(stages):
            name = subcircuit
            if errors is not None:
                name = f"{subcircuit}{k}"
                yield self._transimpedance(name, self.layer.r_f_ohm * (1.0 + float(errors[k])), limits_V)
            error = reference_node(self.layer, mark)
            if not self.noisy_inputs:  # else the netlist's inputs bring the sources, offsets in them
                # No V source: two of them in a row (the other measures the current of an ideal amplifier) would fill
                # the matrix as well.
                if offsets_V[k]:
                    yield self._input_error(error, number(float(offsets_V[k])))
                elif self._error_kind == "V":
                    error = "0"
            yield f"X{self.layer.node}_{mark} {error} {summing} {output} {name}"

    @property
    def _error_kind(self) -> Literal["V", "I"]:
        return input_error_kind(self.amplifier, dynamic=self.dynamic)

    def _input_error(self, node: str, expression: str) -> str:
        """A source at the input of an amplifier."""
        ends = (node, "0") if self._error_kind == "V" else ("0", node)
        return behavioural(node, *ends, self._error_kind, expression, self.dialect)

    def _transimpedance(self, name: str, r_f_ohm: float, limits_V: tuple[float, float]) -> str:
        return transimpedance(name, r_f_ohm, limits_V, self.amplifier, self.dialect, dynamic=self.dynamic)

    def readings(self, readings: Readings) -> Iterator[str]:
        """The sources of what differs from reading to reading, as functions of the count of inputs."""
        layer, node, dialect = self.layer, self.layer.node, self.dialect
        for term, values_V in enumerate(readings.inputs_V):
            drawn_for = node if term == 0 else f"{node}_first"
            values_V = values_V + self._offsets_V(term, drawn_for, values_V.shape[1])
            for k, of_amplifier in enumerate(values_V.T.tolist()):
                reference = reference_node(layer, f"{('out', 'first')[term]}{k}")
                yield self._input_error(reference, table("step", of_amplifier, dialect))
        for term, values_A in enumerate(readings.currents_A):
            for k, of_line in enumerate(values_A.T.tolist()):
                summing = f"{node}_{('sum', 'sumfirst')[term]}{k}"
                yield behavioural(f"{summing}_noise", "0", summing, "I", table("step", of_line, dialect), dialect)

    def _biases(self, bias_V: Floats) -> Iterator[str]:
        node = self.layer.node
        yield "* ---- bias DACs, through resistors of R_f"
        for j, value_V in enumerate(bias_V.tolist()):
            yield f"V{node}_dac{j} {node}_dac{j} 0 {number(-value_V)}"
            yield f"R{node}_dac{j} {node}_dac{j} {node}_sum{j} {number(self.layer.r_f_ohm)}"
