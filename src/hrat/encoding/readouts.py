"""Read-outs: from the devices of a layer, and what drives its word lines, to the voltages of its amplifiers.

A read-out says three things, and whatever computes a layer (training, the behavioural, nodal and SPICE solvers, the
estimate of energy and area) asks the same object for them:

    wires        where the two partners of a pair lie on a tile's grid of word and bit lines, and what drives them
    amplifiers   which currents pass an amplifier of their own before they are subtracted, so that they may saturate
    sums         whether tiles above one another share an amplifier, or have ADCs each (`RowTiles`)

Dual rail: each word line has an inverted twin, so that one bit line gathers `I+ - I-` and one amplifier serves it,

    V_out = R_f (I+ - I-) + V_bias.

Two stage: `I-` has a bit line and an amplifier of its own, whose output the last amplifier subtracts,

    V_out = R_f I+ - clamp(R_f I-, v_swing_V) + V_bias.

Limits: ideal amplifiers within their swing; what finite gain and offset do is told by SPICE (`hrat.simulation.spice`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from hrat.encoding.geometry import Geometry
from hrat.encoding.row_tiles import RowTiles
from hrat.encoding.tiles import Tile
from hrat.physics import clamp_to, digital_sum
from hrat.spec import HardwareSpec, Periphery

__all__ = ["LayerReadout", "Readout"]


class Product(Protocol):
    """The linear operation on what drives the word lines: `weight @ voltage + bias`, convolution or not."""

    def __call__(self, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """A weight in PyTorch layout -> `(..., out)` or `(images, out, *space)`."""
        ...


class Readout(ABC):
    """How the currents of the two partners of each pair become one voltage. Without state: compare by class."""

    name: ClassVar[str]
    """Value of `periphery.readout` that selects it."""
    inner_amplifiers: ClassVar[bool]
    """Whether a current passes an amplifier before it is subtracted: the outputs are then no linear function."""

    @staticmethod
    def of(periphery: Periphery) -> Readout:
        """The read-out that a spec names."""
        return READOUTS[periphery.readout]

    # ---- wires -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def to_grid(self, g_pos_S: Tensor, g_neg_S: Tensor) -> Tensor:
        """Devices as they lie on the wires: two of `(..., rows, cols)` -> `(..., grid rows, grid cols)`, S."""

    @abstractmethod
    def from_grid(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of `to_grid`: what belongs to G+ and to G-."""

    @abstractmethod
    def grid_lines(self, tile: Tile) -> tuple[slice, slice]:
        """The word lines and the bit lines of the layer's grid that a tile holds."""

    @abstractmethod
    def drive(self, voltage: Tensor) -> Tensor:
        """What drives the word lines of the grid: `(..., rows)` -> `(..., grid rows)`, V."""

    @abstractmethod
    def word_line(self, i: int) -> tuple[int, bool]:
        """The row whose signal word line `i` of the grid carries, and whether it is inverted."""

    @abstractmethod
    def bit_line(self, j: int) -> tuple[int, bool]:
        """The column that bit line `j` of the grid belongs to, and whether it ends at an inner amplifier."""

    # ---- amplifiers ------------------------------------------------------------------------------------------------

    @abstractmethod
    def terms(self, g_pos: Tensor, g_neg: Tensor) -> tuple[Tensor, ...]:
        """What each amplifier gathers: one tensor for the last one, then one for the inner one if there is one.

        Args:
            g_pos: conductances, or gains `R_f G`, of the positive partners, any shape.
            g_neg: those of the negative partners.
        """

    @abstractmethod
    def bit_line_currents(self, lines_A: Tensor) -> tuple[Tensor, ...]:
        """Currents of the grid's bit lines `(..., grid cols)` by amplifier, each `(..., cols)`, A; see `terms`."""

    def combined(self, terms: tuple[Tensor, ...], periphery: Periphery) -> Tensor:
        """Output of the last amplifier without its own limit, V, of the shape of each term.

        Args:
            terms: `R_f I` of each amplifier, V, in the order of `terms`.
            periphery: names the swing.
        """
        return terms[0] if len(terms) == 1 else terms[0] - self.inner(terms[1], periphery)

    def inner(self, voltage_V: Tensor, periphery: Periphery) -> Tensor:
        """What an inner amplifier makes of `R_f I`, V: it saturates like any other."""
        return clamp_to(voltage_V, periphery.v_swing_V) if periphery.limit_swing else voltage_V

    @abstractmethod
    def count_amplifiers(self, outputs: int, rows: int) -> int:
        """Amplifiers, those that invert the signals of word lines among them.

        Args:
            outputs: bit lines with an amplifier at their end, those of tiles with amplifiers of their own each.
            rows: inputs.
        """

    @abstractmethod
    def loads_S(self, g_pos_S: Tensor, g_neg_S: Tensor) -> tuple[Tensor, ...]:
        """The conductances that hang at each amplifier's bit line, as in `terms`, S."""


class DualRail(Readout):
    """Word lines 2k and 2k + 1 carry `+v_k` and `-v_k`, with the G+ and the G- devices of input k."""

    name = "dual_rail"
    inner_amplifiers = False

    def to_grid(self, g_pos_S: Tensor, g_neg_S: Tensor) -> Tensor:
        """`(..., 2 rows, cols)`."""
        return torch.stack((g_pos_S, g_neg_S), -2).flatten(-3, -2)

    def from_grid(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        """Every second row."""
        return grid[..., 0::2, :], grid[..., 1::2, :]

    def grid_lines(self, tile: Tile) -> tuple[slice, slice]:
        """Two word lines for each row."""
        return slice(2 * tile.rows.start, 2 * tile.rows.stop), tile.cols

    def drive(self, voltage: Tensor) -> Tensor:
        """`+v_k` and `-v_k` in turn."""
        return torch.stack((voltage, -voltage), dim=-1).flatten(-2)

    def word_line(self, i: int) -> tuple[int, bool]:
        """Every second one is inverted."""
        return i // 2, bool(i % 2)

    def bit_line(self, j: int) -> tuple[int, bool]:
        """One for each column."""
        return j, False

    def terms(self, g_pos: Tensor, g_neg: Tensor) -> tuple[Tensor, ...]:
        """The difference."""
        return (g_pos - g_neg,)

    def bit_line_currents(self, lines_A: Tensor) -> tuple[Tensor, ...]:
        """`I+ - I-`, subtracted on the line itself."""
        return (lines_A,)

    def count_amplifiers(self, outputs: int, rows: int) -> int:
        """One for each output, and an inverter for each input."""
        return outputs + rows

    def loads_S(self, g_pos_S: Tensor, g_neg_S: Tensor) -> tuple[Tensor, ...]:
        """Both partners hang at one line."""
        return (g_pos_S + g_neg_S,)


class TwoStage(Readout):
    """Bit lines 2j and 2j + 1 gather `I+` and `I-` of output j."""

    name = "two_stage"
    inner_amplifiers = True

    def to_grid(self, g_pos_S: Tensor, g_neg_S: Tensor) -> Tensor:
        """`(..., rows, 2 cols)`."""
        return torch.stack((g_pos_S, g_neg_S), -1).flatten(-2)

    def from_grid(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        """Every second column."""
        return grid[..., 0::2], grid[..., 1::2]

    def grid_lines(self, tile: Tile) -> tuple[slice, slice]:
        """Two bit lines for each column."""
        return tile.rows, slice(2 * tile.cols.start, 2 * tile.cols.stop)

    def drive(self, voltage: Tensor) -> Tensor:
        """A word line for each input."""
        return voltage

    def word_line(self, i: int) -> tuple[int, bool]:
        """None is inverted."""
        return i, False

    def bit_line(self, j: int) -> tuple[int, bool]:
        """Every second one ends at the first amplifier."""
        return j // 2, bool(j % 2)

    def terms(self, g_pos: Tensor, g_neg: Tensor) -> tuple[Tensor, ...]:
        """`I+` and `I-` have amplifiers of their own."""
        return g_pos, g_neg

    def bit_line_currents(self, lines_A: Tensor) -> tuple[Tensor, ...]:
        """`I+` and `I-`."""
        return self.from_grid(lines_A)

    def count_amplifiers(self, outputs: int, rows: int) -> int:
        """Two for each output."""
        del rows
        return 2 * outputs

    def loads_S(self, g_pos_S: Tensor, g_neg_S: Tensor) -> tuple[Tensor, ...]:
        """Each partner hangs at a line of its own."""
        return g_pos_S, g_neg_S


READOUTS: dict[str, Readout] = {readout.name: readout for readout in (DualRail(), TwoStage())}


@dataclass(frozen=True)
class LayerReadout:
    """The read-out of one layer: its amplifiers, and ADCs for each tile where these are not to share amplifiers."""

    amplifiers: Readout
    tiles: RowTiles | None
    """The tiles whose partial sums pass ADCs; None where the currents of all tiles are summed."""
    geometry: Geometry
    periphery: Periphery

    @classmethod
    def of(cls, geometry: Geometry, spec: HardwareSpec) -> LayerReadout:
        """What a spec gives a layer of this shape."""
        return cls(Readout.of(spec.periphery), RowTiles.of(geometry, spec), geometry, spec.periphery)

    @property
    def n_sums(self) -> int:
        """Partial sums of each output that have amplifiers of their own."""
        return 1 if self.tiles is None else self.tiles.count

    @property
    def is_one_product(self) -> bool:
        """Whether nothing inside depends on volts: the operation with one weight then yields the outputs."""
        return self.tiles is None and not self.amplifiers.inner_amplifiers

    def volts(
        self,
        voltage: Tensor,
        gains: tuple[Tensor, ...],
        *,
        full_scale_V: Tensor | None = None,
        bias_V: Tensor | None = None,
        product: Product | None = None,
        digital_sum: Callable[[Tensor, Tensor, Periphery], Tensor] = digital_sum,
        watch: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Word-line voltages -> outputs, without the limit of the last amplifier.

        Args:
            voltage: `(images, in, *space)`, V.
            gains: `R_f G` of each amplifier (`Readout.terms`), of the weight's shape, no unit.
            full_scale_V: full scale of the ADCs of each tile, `(tiles,)`, V, where tiles have some.
            bias_V: `(out,)`, V.
            product: the operation on `voltage`, where that is not `Geometry.apply`.
            digital_sum: `hrat.physics.digital_sum`, or what has a gradient besides.
            watch: called with the voltages of the tiles' amplifiers, `(tiles, ...)`, before any limit.

        Returns:
            `(images, out, *space)`, V.
        """
        if self.tiles is None:
            product = product or partial(self.geometry.apply, voltage)
            inner = [product(gain) for gain in gains[1:]]
            return self.amplifiers.combined((product(gains[0], bias_V), *inner), self.periphery)
        assert full_scale_V is not None
        inner = [self.tiles.apply(voltage, gain) for gain in gains[1:]]
        partial_V = self.amplifiers.combined((self.tiles.apply(voltage, gains[0]), *inner), self.periphery)
        if watch is not None:
            watch(partial_V)
        out = digital_sum(partial_V, full_scale_V, self.periphery)
        return out if bias_V is None else out + self.geometry.channel_view(bias_V)
