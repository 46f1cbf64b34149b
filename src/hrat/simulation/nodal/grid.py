"""A tile as a tree of blocks: joined upwards once, then asked downwards for the currents of its devices.

The whole tile is a block whose ends are the circuit's: word lines are driven at L and, with both_ends, at R as well,
nothing enters at T, and B is virtual ground. Its matrix gives the output currents. What goes on inside is found by
going down the tree: the inputs of a block, and what its last join left behind, are the inputs of its two halves, and
those of a leaf give the currents of its devices.

Voltages in series with the devices, which Newton's method needs, are first carried upwards: each block then has outputs
of its own, `y = H x + s`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from hrat.simulation.nodal.blocks import Join, Layout, inverse, join, make_leaves, plan_steps
from hrat.simulation.nodal.wires import Wires
from hrat.simulation.solvers import SolverError

__all__ = ["Edge", "Tree", "edge_of", "require_numbers"]


@dataclass(frozen=True, kw_only=True)
class Edge:
    """Tiles seen from their sources and virtual grounds."""

    driver_S: Tensor
    """`(tiles, rows, rows)`: current out of each source, at both ends together, by the voltage of each source."""
    output_S: Tensor
    """`(tiles, cols, rows)`: current into each virtual ground by the voltage of each source."""
    ground_S: Tensor
    """`(tiles, cols, cols)`: current into each virtual ground by a voltage there; negative semi-definite."""

    def with_open_lines(self, word_lines: Sequence[int], bit_lines: Sequence[int]) -> Tensor:
        """`output_S`, `(tiles, cols, rows)`, where some word lines have no source, some bit lines no virtual ground.

        Driven at both, the tile is a network `[i_words, i_bits] = Y [v_words, v_bits]` with `Y` symmetric. Ends that
        carry no current take the voltage `v_o = -Y_oo^-1 Y_oc v_c`. The pseudo-inverse is for open lines that no
        device connects to anything else: their voltage is arbitrary and does not matter.
        """
        rows = self.driver_S.shape[-1]
        y_words = torch.cat([self.driver_S, -self.output_S.mT], dim=-1)
        y_S = torch.cat([y_words, torch.cat([-self.output_S, -self.ground_S], dim=-1)], dim=-2)
        ends = torch.tensor([*word_lines, *(rows + line for line in bit_lines)], device=y_S.device)
        y_oc = y_S.index_select(-2, ends)
        y_oo = y_oc.index_select(-1, ends)
        reduced_S: Tensor = y_S - y_oc.mT @ torch.linalg.pinv(y_oo, hermitian=True) @ y_oc
        output_S = -reduced_S[..., rows:, :rows]
        output_S[..., :, list(word_lines)] = 0.0
        output_S[..., list(bit_lines), :] = 0.0
        return output_S


def edge_of(g_S: Tensor, wires: Wires, *, undriven: Sequence[int] = ()) -> Edge:
    """Join the blocks of tiles `(tiles, rows, cols)`, S, and keep nothing of the inside.

    Args:
        g_S: conductances of the devices.
        wires: those of every tile.
        undriven: word lines without the second source that `both_ends` gives to the others.

    Raises:
        SolverError: resistances that float64 cannot tell apart.
    """
    steps = plan_steps(*g_S.shape[-2:])
    h = make_leaves(g_S, wires, steps).h
    for before, after in pairwise(steps.layouts):
        h, _ = _joined(h, before, after)
    edge = _Root(h[:, 0, 0], steps.layouts[-1], g_S, wires, undriven).edge()
    for part_S in (edge.driver_S, edge.output_S, edge.ground_S):
        require_numbers(part_S, g_S, wires)
    return edge


def require_numbers(solution: Tensor, g_S: Tensor, wires: Wires) -> Tensor:
    """The solution for tiles `(tiles, rows, cols)`, S, checked to be finite.

    Raises:
        SolverError: it is not finite.
    """
    if bool(torch.isfinite(solution).all()):
        return solution
    ohm = max(wires.word_ohm, wires.bit_ohm, wires.driver_ohm, wires.sense_ohm)
    raise SolverError(
        f"tile of {g_S.shape[-2]}x{g_S.shape[-1]} devices: its equations have no solution in float64; expected wires "
        f"and devices whose resistances differ by less than about 1e12, got up to {float(g_S.max()):.3g} S and "
        f"{ohm:.3g} ohm"
    )


class Tree:
    """Tiles of conductances `(tiles, rows, cols)`, S, whose devices can be asked for their currents."""

    def __init__(self, g_S: Tensor, wires: Wires) -> None:
        self._shape = g_S.shape[-2:]
        self._steps = plan_steps(*self._shape)
        self._leaves = make_leaves(g_S, wires, self._steps)
        self._joins: list[Join] = []
        h = self._leaves.h
        for before, after in pairwise(self._steps.layouts):
            h, left_behind = _joined(h, before, after)
            self._joins.append(left_behind)
        self._root = _Root(h[:, 0, 0], self._steps.layouts[-1], g_S, wires)

    def edge(self) -> Edge:
        """The tiles from outside."""
        return self._root.edge()

    def device_currents(self, v_V: Tensor, series_V: Tensor) -> Tensor:
        """Current through each device.

        Args:
            v_V: `(tiles, rows, batch)`, voltage of each source, V.
            series_V: `(tiles, rows, cols, batch)`, voltage in series with each device, V, driving current from its
                word line to its bit line.

        Returns:
            `(tiles, rows, cols, batch)`, A.
        """
        e_V = self._into_leaves(series_V)
        own, own_a, own_b = self._up(e_V)
        x = self._root.inputs(v_V, own[:, 0, 0])[:, None, None]
        turns = pairwise(self._steps.layouts)
        for left, a, b, (before, after) in reversed(list(zip(self._joins, own_a, own_b, turns, strict=True))):
            x = _down(x, left, a, b, before, turn=before.rightward != after.rightward)
        return self._out_of_leaves(self._leaves.s_S @ (self._leaves.d @ x + e_V))

    def _up(self, e_V: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Outputs that the series voltages alone cause: of the tile's ends, and of those that meet at each step."""
        leaves = self._leaves
        own = leaves.flip * (leaves.d.mT @ (leaves.s_S @ e_V))
        own_a, own_b = [], []
        for left, (before, after) in zip(self._joins, pairwise(self._steps.layouts), strict=True):
            first, second = _halves(own, before)
            grid, others = first.shape[:3], before.ends - before.outer
            first, second = first.flatten(0, 2), second.flatten(0, 2)
            s_f = second[:, : before.outer]
            a = left.inverse @ (first[:, others:] + left.f_ff @ s_f)
            b = s_f + left.s_ff @ a
            own = _placed(
                first[:, :others] + left.f_of @ b,
                second[:, before.outer :] + left.s_of @ a,
                before.moves(turn=before.rightward != after.rightward),
            ).unflatten(0, grid)
            own_a.append(a)
            own_b.append(b)
        return own, own_a, own_b

    def _into_leaves(self, devices: Tensor) -> Tensor:
        """`(tiles, rows, cols, batch)` -> `(tiles, down, right, e, batch)`."""
        layout, (down, right) = self._steps.layouts[0], self._steps.grid
        above, behind = down * layout.height - self._shape[0], right * layout.width - self._shape[1]
        padded: Tensor = F.pad(devices, (0, 0, 0, behind, above, 0))
        leaves = (-1, down, layout.height, right, layout.width, devices.shape[-1])
        return padded.reshape(leaves).transpose(2, 3).flatten(3, 4)

    def _out_of_leaves(self, devices: Tensor) -> Tensor:
        layout = self._steps.layouts[0]
        leaves: Tensor = devices.unflatten(3, (layout.height, layout.width))
        whole = leaves.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return whole[:, whole.shape[1] - self._shape[0] :, : self._shape[1]]


def _joined(h: Tensor, before: Layout, after: Layout) -> tuple[Tensor, Join]:
    """One step of a grid of blocks `(tiles, down, right, k, k)`."""
    first, second = _halves(h, before)
    turn = before.rightward != after.rightward
    whole, left_behind = join(first.flatten(0, 2), second.flatten(0, 2), before, turn=turn)
    return whole.unflatten(0, first.shape[:3]), left_behind


def _halves(blocks: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    if layout.rightward:
        return blocks[:, :, 0::2], blocks[:, :, 1::2]
    return blocks[:, 0::2], blocks[:, 1::2]


def _placed(first: Tensor, second: Tensor, places: tuple[list[slice], list[slice]]) -> Tensor:
    """Values at the ends of the joined block, `(pairs, k, batch)`, from those at the ends that its halves keep."""
    whole = first.new_empty(first.shape[0], first.shape[1] + second.shape[1], first.shape[2])
    for half, runs in zip((first, second), places, strict=True):
        start = 0
        for run in runs:
            whole[:, run] = half[:, start : start + run.stop - run.start]
            start += run.stop - run.start
    return whole


def _down(x: Tensor, left: Join, own_a: Tensor, own_b: Tensor, layout: Layout, *, turn: bool) -> Tensor:
    """Inputs of the halves `(tiles, down, right, k, batch)` of each block, from those of the blocks."""
    grid, x = x.shape[:3], x.flatten(0, 2)
    of_first, of_second = layout.moves(turn=turn)
    first = torch.cat([*(x[:, run] for run in of_first), left.b @ x + own_b], dim=1)
    second = torch.cat([left.a @ x + own_a, *(x[:, run] for run in of_second)], dim=1)
    along = 3 if layout.rightward else 2
    return torch.stack([first.unflatten(0, grid), second.unflatten(0, grid)], dim=along).flatten(along - 1, along)


class _Root:
    """The block that is the whole tile, `(tiles, k, k)`, and what its ends are wired to."""

    def __init__(self, h: Tensor, layout: Layout, g_S: Tensor, wires: Wires, undriven: Sequence[int] = ()) -> None:
        self._h = h
        rows, cols = g_S.shape[-2:]
        # Lines without devices stand above the first word line and behind the last bit line.
        at = layout.slices()
        self._at = {name: slice(at[name].stop - rows, at[name].stop) for name in "LR"}
        self._at |= {name: slice(at[name].start, at[name].start + cols) for name in "TB"}
        self._far_S = None if wires.far_end_ohm is None else self._far(wires.far_end_ohm, undriven)

    def _part(self, output: str, source: str) -> Tensor:
        return self._h[:, self._at[output], self._at[source]]

    def _far(self, far_end_ohm: float, undriven: Sequence[int]) -> Tensor:
        """Current into each far end by the voltage that its source lies above it, `(tiles, rows, rows)`, S."""
        inside_ohm = -self._part("R", "R")
        rows = inside_ohm.shape[-1]
        driven = torch.ones(rows, dtype=torch.bool, device=self._h.device)
        driven[list(undriven)] = False
        one = torch.eye(rows, dtype=self._h.dtype, device=self._h.device)
        # Lines without a second source are taken out of the equations, and what enters them is zero.
        coupled_ohm = torch.where(driven & driven.unsqueeze(-1), inside_ohm + far_end_ohm * one, one)
        far_S: Tensor = inverse(coupled_ohm) * driven
        return far_S

    def edge(self) -> Edge:
        part = self._part
        driver_S, output_S, ground_S = part("L", "L"), part("B", "L"), part("B", "B")
        if self._far_S is not None:
            one = torch.eye(driver_S.shape[-1], dtype=driver_S.dtype, device=driver_S.device)
            into_far_S = self._far_S @ (one - part("R", "L"))
            driver_S = driver_S + (one - part("L", "R")) @ into_far_S
            output_S = output_S - part("B", "R") @ into_far_S
            ground_S = ground_S + part("B", "R") @ self._far_S @ part("R", "B")
        return Edge(driver_S=driver_S, output_S=output_S, ground_S=ground_S)

    def inputs(self, v_V: Tensor, own: Tensor) -> Tensor:
        """Inputs of the tile's ends, `(tiles, k, batch)`; `own` are the outputs that the series voltages cause."""
        x = torch.zeros_like(own)
        x[:, self._at["L"]] = v_V
        if self._far_S is not None:
            x[:, self._at["R"]] = -self._far_S @ (v_V - self._part("R", "L") @ v_V - own[:, self._at["R"]])
        return x
