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

Reference column: a weight is one device, and each tile has a column of reference devices, whose current passes an
amplifier that all outputs of the tile share,

    V_out = R_f I_j - clamp(R_f I_ref, v_swing_V) + V_bias.

Amplifiers are ideal within their limits here; their errors come in at `Readout.combined`
(`hrat.encoding.amplifier_errors`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from hrat.encoding.geometry import Geometry
from hrat.encoding.pairs import encode_pair, quantise_fraction_
from hrat.encoding.tiles import Tile
from hrat.errors import HratError
from hrat.physics import amplifier_limits_V
from hrat.spec import Array, Device, HardwareSpec, Periphery

__all__ = ["READOUTS", "DualRail", "Readout", "ReferenceColumn", "TwoStage", "refuse_shared_negatives"]


@dataclass(frozen=True)
class Readout(ABC):
    """How the currents of a layer's devices become one voltage for each output."""

    array: Array
    periphery: Periphery

    name: ClassVar[str]
    """Value of `periphery.readout` that selects it."""
    inner_amplifiers: ClassVar[bool]
    """Whether a current passes an amplifier before it is subtracted: the outputs are then no linear function."""
    shares_negatives: ClassVar[bool] = False
    """Whether one device is the negative partner of several weights."""

    @staticmethod
    def of(spec: HardwareSpec) -> Readout:
        """The read-out that a spec names."""
        return READOUTS[spec.periphery.readout](spec.array, spec.periphery)

    # ---- weights ---------------------------------------------------------------------------------------------------

    def full_S(self, device: Device) -> float:
        """`G+ - G-` of a weight at the end of the window, S."""
        return device.g_range_S

    def quantise_(self, fraction: Tensor, device: Device) -> Tensor:
        """The nearest fraction of the window that devices can realise, in place; saturates at the ends. Any shape."""
        return quantise_fraction_(fraction, device)

    def encode(self, fraction: Tensor, geometry: Geometry, device: Device) -> tuple[Tensor, Tensor]:
        """Target conductances `(G+, G-)` of realisable fractions, S, with their gradient.

        Args:
            fraction: of the window, `geometry.weight_shape`.
            geometry: the operation.
            device: the memristor.

        Returns:
            Of `geometry.weight_shape`, and of the weight's shape of `negatives(geometry)`.
        """
        del geometry
        return encode_pair(fraction, device)

    # ---- negative partners -----------------------------------------------------------------------------------------

    def count_negatives(self, cols: int) -> int:
        """Columns of negative partners of a layer, or of a tile, with `cols` outputs."""
        return cols

    def negatives(self, geometry: Geometry) -> Geometry:
        """The operation whose weights are the negative partners: that of the layer, perhaps with fewer outputs."""
        cols = geometry.matrix_shape[2]
        return replace(geometry, out_channels=geometry.groups * self.count_negatives(cols))

    def negatives_of(self, tile: Tile) -> tuple[int, slice, slice]:
        """Index of a tile's negative partners in an array `(groups, rows, columns of negative partners)`."""
        return tile.index

    def for_each_weight(self, g_neg: Tensor, cols: int) -> Tensor:
        """Negative partners as each of `cols` outputs sees them: `(..., columns)` -> `(..., cols)`."""
        del cols
        return g_neg

    def once_for_each_device(self, g_neg: Tensor) -> Tensor:
        """The inverse of `for_each_weight`, for values that are equal where a device is the same."""
        return g_neg

    def for_each_output(self, voltage_V: Tensor, geometry: Geometry) -> Tensor:
        """An inner amplifier's voltage for each output that takes it off.

        Args:
            voltage_V: of `negatives(geometry).apply`, or with more dimensions in front.
            geometry: the operation.

        Returns:
            In the shape of `geometry.apply`.
        """
        del geometry
        return voltage_V

    # ---- wires -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def to_grid(self, g_pos_S: Tensor, g_neg_S: Tensor) -> Tensor:
        """Devices as they lie on the wires: G+ `(..., rows, cols)` and G- -> `(..., grid rows, grid cols)`, S."""

    @abstractmethod
    def from_grid(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of `to_grid`: what belongs to G+ and to G-."""

    @abstractmethod
    def grid_lines(self, tile: Tile) -> tuple[slice, slice]:
        """The word lines and the bit lines of the layer's grid that a tile holds."""

    def drive(self, voltage: Tensor) -> Tensor:
        """What drives the word lines of the grid: `(..., rows)` -> `(..., grid rows)`, V."""
        return voltage

    def word_line(self, i: int) -> tuple[int, bool]:
        """The row whose signal word line `i` of the grid carries, and whether it is inverted."""
        return i, False

    @abstractmethod
    def bit_line(self, j: int, cols: int) -> tuple[int, bool]:
        """What bit line `j` in the grid of `cols` outputs ends at: `(its number, whether it is an inner amplifier)`."""

    # ---- amplifiers ------------------------------------------------------------------------------------------------

    def terms(self, g_pos: Tensor, g_neg: Tensor) -> tuple[Tensor, ...]:
        """What each amplifier gathers: one tensor for the last one, then one for the inner one if there is one.

        Args:
            g_pos: conductances, or gains `R_f G`, of the positive partners, any shape.
            g_neg: those of the negative partners.
        """
        return g_pos, g_neg

    def bit_line_currents(self, lines_A: Tensor) -> tuple[Tensor, ...]:
        """Currents of the grid's bit lines `(..., grid cols)` by amplifier, in the order of `terms`, A."""
        return self.from_grid(lines_A)

    def combined(
        self,
        terms: tuple[Tensor, ...],
        spread: Callable[[Tensor], Tensor],
        amplified: Callable[[int, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Output of the last amplifier, without its own limit, V, of the shape of the first term.

        Args:
            terms: `R_f I` of each amplifier, V, in the order of `terms`.
            spread: an inner amplifier's voltages -> those that each output takes off: `for_each_output`, or of bit
                lines `for_each_weight`.
            amplified: what the amplifiers of a term yield in place of an ideal output; None: just that.
        """
        last, *inner = terms
        for term, voltage_V in enumerate(inner, 1):
            last = last - spread(self.inner(voltage_V if amplified is None else amplified(term, voltage_V)))
        return last if amplified is None else amplified(0, last)

    def inner(self, voltage_V: Tensor) -> Tensor:
        """What an inner amplifier makes of `R_f I`, V: it saturates like any other."""
        low_V, high_V = amplifier_limits_V(self.periphery)
        return voltage_V.clamp(low_V, high_V) if math.isfinite(high_V) else voltage_V

    def inner_feeds(self, cols: int) -> list[range]:
        """For each inner amplifier of `cols` outputs, those that take its voltage off."""
        return [range(j, j + 1) for j in range(cols)]

    def count_amplifiers(self, rows: int, cols: int, sums: int = 1) -> int:
        """Amplifiers of a matrix, those that invert the signals of word lines among them.

        Args:
            rows: inputs.
            cols: outputs.
            sums: partial sums of each output that have amplifiers of their own.
        """
        del rows
        return sums * (cols + self.count_negatives(cols))

    def loads_S(self, g_pos_S: Tensor, g_neg_S: Tensor) -> tuple[Tensor, ...]:
        """The conductances that hang at each amplifier's bit line, as in `terms`, S."""
        return g_pos_S, g_neg_S


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

    def bit_line(self, j: int, cols: int) -> tuple[int, bool]:
        """One for each output."""
        del cols
        return j, False

    def terms(self, g_pos: Tensor, g_neg: Tensor) -> tuple[Tensor, ...]:
        """The difference."""
        return (g_pos - g_neg,)

    def bit_line_currents(self, lines_A: Tensor) -> tuple[Tensor, ...]:
        """`I+ - I-`, subtracted on the line itself."""
        return (lines_A,)

    def inner_feeds(self, cols: int) -> list[range]:
        """There is none."""
        del cols
        return []

    def count_amplifiers(self, rows: int, cols: int, sums: int = 1) -> int:
        """One for each output, and an inverter for each input."""
        return sums * cols + rows

    def loads_S(self, g_pos_S: Tensor, g_neg_S: Tensor) -> tuple[Tensor, ...]:
        """Both partners hang at one line."""
        return (g_pos_S + g_neg_S,)


class TwoStage(Readout):
    """Bit lines 2j and 2j + 1 gather `I+` and `I-` of output j; `I-` passes an amplifier of its own."""

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

    def bit_line(self, j: int, cols: int) -> tuple[int, bool]:
        """Every second one ends at an inner amplifier."""
        del cols
        return j // 2, bool(j % 2)


class ReferenceColumn(Readout):
    """One device for each weight, and one column of devices in the middle of the window for each tile.

        V_out = R_f I_j - clamp(R_f I_ref, v_swing_V) + V_bias
        G_kj  = G_mid + f_kj (G_mid - G_low),    G_ref,k = G_mid

    The reference current passes one amplifier, which all outputs of the tile take off. A tile of `array.cols` outputs
    has a bit line more. The window of a weight is half as wide as a pair's, and its reference device misses its target
    for all weights of its row at once. States above `2 G_mid - G_low` are not used.
    """

    name = "reference_column"
    inner_amplifiers = True
    shares_negatives = True

    def full_S(self, device: Device) -> float:
        """From the middle state down to the lowest one."""
        return self._middle_S(device) - device.states_S[0]

    def quantise_(self, fraction: Tensor, device: Device) -> Tensor:
        """The nearest state around the middle one."""
        fraction.clamp_(-1.0, 1.0)
        if device.n_states is None:
            return fraction
        middle_S, full_S = self._middle_S(device), self.full_S(device)
        steps = [(g_S - middle_S) / full_S for g_S in device.states_S]
        levels = torch.tensor([step for step in steps if step <= 1.0 + 1e-9], dtype=torch.float64).to(fraction)
        nearest = torch.bucketize(fraction.contiguous(), (levels[1:] + levels[:-1]) / 2)
        return fraction.copy_(levels[nearest])

    def encode(self, fraction: Tensor, geometry: Geometry, device: Device) -> tuple[Tensor, Tensor]:
        """The weight's device about the middle, the reference in it."""
        middle_S = self._middle_S(device)
        shape = self.negatives(geometry).weight_shape
        return middle_S + fraction * self.full_S(device), fraction.new_full(shape, middle_S)

    @staticmethod
    def _middle_S(device: Device) -> float:
        states_S = device.states_S
        if device.n_states is None:
            return (states_S[0] + states_S[-1]) / 2
        return states_S[(len(states_S) - 1) // 2]

    def count_negatives(self, cols: int) -> int:
        """One column for each tile."""
        return -(-cols // self.array.cols)

    def negatives_of(self, tile: Tile) -> tuple[int, slice, slice]:
        """The tile's column."""
        return tile.group, tile.rows, slice(tile.grid_col, tile.grid_col + 1)

    def for_each_weight(self, g_neg: Tensor, cols: int) -> Tensor:
        """The reference of its tile for each output."""
        return g_neg.repeat_interleave(self.array.cols, -1)[..., :cols]

    def once_for_each_device(self, g_neg: Tensor) -> Tensor:
        """The first output of each tile."""
        return g_neg[..., :: self.array.cols]

    def for_each_output(self, voltage_V: Tensor, geometry: Geometry) -> Tensor:
        """The voltage of its tile for each output."""
        groups, _, cols = geometry.matrix_shape
        channel = -1 - geometry.dims
        of_groups = voltage_V.unflatten(channel, (groups, -1))
        of_outputs = of_groups.repeat_interleave(self.array.cols, channel).narrow(channel, 0, cols)
        out: Tensor = of_outputs.flatten(channel - 1, channel)
        return out

    def to_grid(self, g_pos_S: Tensor, g_neg_S: Tensor) -> Tensor:
        """`(..., rows, cols + tiles)`: the reference behind the columns of each tile."""
        of_tiles = zip(g_pos_S.split(self.array.cols, -1), g_neg_S.split(1, -1), strict=True)
        return torch.cat([line for tile in of_tiles for line in tile], -1)

    def from_grid(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        """The last column of each tile is its reference."""
        tiles = grid.split(self.array.cols + 1, -1)
        return torch.cat([tile[..., :-1] for tile in tiles], -1), torch.cat([tile[..., -1:] for tile in tiles], -1)

    def grid_lines(self, tile: Tile) -> tuple[slice, slice]:
        """A bit line more for each tile."""
        return tile.rows, slice(tile.cols.start + tile.grid_col, tile.cols.stop + tile.grid_col + 1)

    def bit_line(self, j: int, cols: int) -> tuple[int, bool]:
        """The last one of each tile ends at the amplifier of the reference."""
        tile, place = divmod(j, self.array.cols + 1)
        output = tile * self.array.cols + place
        return (tile, True) if place == self.array.cols or output == cols else (output, False)

    def inner_feeds(self, cols: int) -> list[range]:
        """All outputs of its tile."""
        size = self.array.cols
        return [range(first, min(first + size, cols)) for first in range(0, cols, size)]


READOUTS: dict[str, type[Readout]] = {kind.name: kind for kind in (DualRail, TwoStage, ReferenceColumn)}


def refuse_shared_negatives(spec: HardwareSpec, what: str) -> None:
    """Refuse what works on the two devices of a weight alone, where one of them serves other weights too.

    Raises:
        HratError: it does.
    """
    if Readout.of(spec).shares_negatives:
        raise HratError(
            f"{what} changes both devices of a weight, and with periphery.readout = '{spec.periphery.readout}' one of "
            "them serves other weights too; expected a read-out with pairs: dual_rail or two_stage"
        )
