"""A tile as a subcircuit: memristors as resistors, and the wires between them.

    wl_i --[r_driver]--[r_word]--+--[r_word]--+-- ... --+ (--[r_word]--[r_driver]-- wl_i, driven at both ends)
                                 |            |         |
                             Rm{i}_0      Rm{i}_1   Rm{i}_{cols-1}
                                 |            |         |
                                 +            +         +        down the bit lines: r_bit from row to row, and
                                 |            |         |        r_bit, r_sense from the last row to the pin bl_j

Pins: `wl0 wl1 ... bl0 bl1 ...`. Nodes: `w{i}_{j}` on word line i and `b{i}_{j}` on bit line j at device (i, j). A
resistance of zero is no element: the nodes at its ends are one. Far ends that nothing drives are open.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hrat.simulation.spice.circuit import Dialect, Floats
from hrat.simulation.spice.dialects import behavioural, number, wrapped
from hrat.spec import Array

__all__ = ["tile_subcircuit"]


def tile_subcircuit(
    name: str,
    g_S: Floats,
    array: Array,
    *,
    c_node_F: float = 0.0,
    memristor: str | None = None,
    curvature_V: float | None = None,
    dialect: Dialect = "ngspice",
) -> Iterator[str]:
    """The lines of a tile's subcircuit.

    Args:
        name: name of the subcircuit.
        g_S: conductances of the physical grid, `(word lines, bit lines)`, S; a device of 0 S is left out.
        array: wires, and whether they count.
        c_node_F: capacitance to ground at each crossing of each line, F (transients only).
        curvature_V: `u_0` of devices whose current is `G u_0 sinh(u / u_0)`, V; None for ohmic ones.
        dialect: dialect of SPICE.
        memristor: subcircuit `plus minus state` of devices that are no resistors; `q{i}_{j}` is then a device's state.
    """
    rows, cols = g_S.shape
    yield wrapped([f".subckt {name}", *(f"wl{i}" for i in range(rows)), *(f"bl{j}" for j in range(cols))])
    wires = _Wires(rows, cols, array)
    yield from wires.lines()
    # Bit line by bit line: neighbours in the list are neighbours in the solver's columns, a fifth less time to load.
    for j in range(cols):
        of_line = g_S[:, j]
        for i, g in zip(np.flatnonzero(of_line).tolist(), of_line[of_line != 0].tolist(), strict=True):
            word, bit = wires.word(i, j), wires.bit(i, j)
            ends = f"{word} {bit}"
            if curvature_V is not None and memristor is None:
                current = f"{number(g * curvature_V)}*sinh((v({word})-v({bit}))*{number(1.0 / curvature_V)})"
                yield behavioural(f"m{i}_{j}", word, bit, "I", current, dialect)
                continue
            yield (
                f"Rm{i}_{j} {ends} {number(1.0 / g)}" if memristor is None else f"Xm{i}_{j} {ends} q{i}_{j} {memristor}"
            )
    if c_node_F:
        yield from wires.capacitors(c_node_F)
    yield f".ends {name}"


class _Wires:
    """Names of the nodes along the lines, and the resistors between them."""

    def __init__(self, rows: int, cols: int, array: Array) -> None:
        on = array.limit_wires
        self.rows, self.cols = rows, cols
        self.r_word_ohm, self.r_bit_ohm = (array.r_word_ohm, array.r_bit_ohm) if on else (0.0, 0.0)
        self.r_driver_ohm, self.r_sense_ohm = (array.r_driver_ohm, array.r_sense_ohm) if on else (0.0, 0.0)
        self.both_ends = array.drive == "both_ends"

    def word(self, i: int, j: int) -> str:
        """Node of word line i at device (i, j)."""
        if self.r_word_ohm:
            return f"w{i}_{j}"
        return f"w{i}" if self.r_driver_ohm else f"wl{i}"

    def bit(self, i: int, j: int) -> str:
        """Node of bit line j at device (i, j)."""
        if self.r_bit_ohm:
            return f"b{i}_{j}"
        return f"b{j}" if self.r_sense_ohm else f"bl{j}"

    def lines(self) -> Iterator[str]:
        """All resistors of the wires."""
        for i in range(self.rows):
            yield from self._driven_end(i, 0, "d")
            if self.r_word_ohm:
                for j in range(1, self.cols):
                    yield f"Rw{i}_{j} {self.word(i, j - 1)} {self.word(i, j)} {number(self.r_word_ohm)}"
            if self.both_ends:
                yield from self._driven_end(i, self.cols - 1, "e")
        for j in range(self.cols):
            if self.r_bit_ohm:
                for i in range(1, self.rows):
                    yield f"Rb{i}_{j} {self.bit(i - 1, j)} {self.bit(i, j)} {number(self.r_bit_ohm)}"
            yield from self._sensed_end(j)

    def _driven_end(self, i: int, j: int, mark: str) -> Iterator[str]:
        """Pin, driver, one segment, device (i, j)."""
        behind_driver = f"{mark}{i}" if self.r_word_ohm and self.r_driver_ohm else f"wl{i}"
        if self.r_driver_ohm:
            end = behind_driver if self.r_word_ohm else self.word(i, j)
            yield f"Rdriver_{mark}{i} wl{i} {end} {number(self.r_driver_ohm)}"
        if self.r_word_ohm:
            yield f"Rw_{mark}{i} {behind_driver} {self.word(i, j)} {number(self.r_word_ohm)}"

    def _sensed_end(self, j: int) -> Iterator[str]:
        """Last device of the line, one segment, sense resistance, pin."""
        last = self.bit(self.rows - 1, j)
        if self.r_bit_ohm:
            end = f"s{j}" if self.r_sense_ohm else f"bl{j}"
            yield f"Rb_s{j} {last} {end} {number(self.r_bit_ohm)}"
            last = end
        if self.r_sense_ohm:
            yield f"Rsense_{j} {last} bl{j} {number(self.r_sense_ohm)}"

    def capacitors(self, c_node_F: float) -> Iterator[str]:
        """A capacitor to ground at each crossing on both lines; on ideal wires they lie in parallel."""
        for i in range(self.rows):
            for j in range(self.cols):
                yield f"Cw{i}_{j} {self.word(i, j)} 0 {number(c_node_F)}"
                yield f"Cb{i}_{j} {self.bit(i, j)} 0 {number(c_node_F)}"
