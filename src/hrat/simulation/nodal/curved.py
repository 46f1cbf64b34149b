"""Devices whose current is not proportional to their voltage, and Newton's method for tiles of them.

    i = G f(u),    f(u) = u_0 sinh(u / u_0)

Field-enhanced conduction between traps or through a barrier; the read-out current of the compact model by X. Guan,
S. Yu and H.-S. P. Wong, IEEE Electron Device Lett. 33, 1405 (2012), `i = I_0 exp(-gap / gap_0) sinh(u / u_0)`, where a
device's state sets the factor and `u_0` is common to all. Written so that `G` is the conductance at small voltage.
Limits: symmetric, no dependence of `u_0` on state or temperature, states do not move.

**Newton's method** knows two unknowns that say the same, the voltages `u` across the devices and their currents `i`.
The wires lose voltage to the currents, `left(i) = V - Z i`, with `Z` their resistance, and what is left of the sources'
voltages must be `u`:

    F = u - left(i) = 0,    (1 + Z g) du = -F,    (1 / g + Z) di = -F,    g = di/du = hypot(i, G u_0) / u_0

`du` and `di = g du` are one and the same step, the solution of a linear tile of conductances `g` with `-F` in series
with its devices and no source. They part where the law bends:

* *Together.* The tree of the tile at small voltage (`g = G`) serves all inputs, in steps of `u`, for as long as each of
  them shrinks the residual enough: devices that are nearly ohmic, or wires that lose little.
* *Alone.* The other inputs have trees of their own, with `g` as it is. In `i` the equations are

      u_0 asinh(i / (G u_0)) + Z i = V

  the gradient of a strictly convex function: half the power lost in the wires, what the devices' voltages integrate to
  over their currents (their content: W. Millar, Phil. Mag. 42, 1150, 1951), less the power of the sources. So there is
  one solution, and a step in `i` that is short enough always leads down to it. Slopes `1 / g <= 1 / G` do not grow with
  the voltage, whereas those of sinh pass all bounds. A step in `u` is tried first, then for each device the smaller of
  its two steps, in `i` where its voltage grows and in `u` where it falls, as circuit simulators limit the steps of a
  diode. Where neither leads down, the step in `i` is halved until it does.

**Limits of the numbers.** A voltage that is off by `dv` changes a current by `dv / u_0` of itself: where no wire
bounds the current, rounding alone leaves errors of about `1e-14 V / u_0`, with `V` the largest source. The iteration
ends at the tolerance or there. Without resistance between two sources and their devices, currents follow sinh and
leave float64 at `V / u_0` of about 700; if they then meet in the sense resistance alone, the small difference of these
large currents is lost to rounding from about 40 on. Both are told as not converged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hrat.simulation.nodal.grid import Tree, require_numbers
from hrat.simulation.nodal.losses import node_voltages
from hrat.simulation.nodal.wires import Wires

__all__ = ["CurvedCircuit", "Operation", "sinh_law"]

WORTH_IT = 0.25
"""Largest factor from one residual to the next for which an input stays with the common tree."""
DEVICES_AT_ONCE = 2**20
"""Devices of the trees that are built at a time, about a gigabyte."""
HALVINGS = 40
"""Times that a step is halved at most."""
DESCENT = 1e-4
"""Part of the descent that the slope promises which a step has to keep (Armijo)."""
ROUNDING = 32 * torch.finfo(torch.float64).eps
"""Relative error that the sums along the wires leave in the voltages across devices."""


def sinh_law(u_V: Tensor, curvature_V: float) -> Tensor:
    """`u_0 sinh(u / u_0)`, any shape, V: the voltage at which an ohmic device would carry the same current."""
    return curvature_V * torch.sinh(u_V / curvature_V)


@dataclass(kw_only=True)
class Operation:
    """Operating point of the devices and its distance from the solution; shapes as in `CurvedCircuit`."""

    device_V: Tensor
    currents_A: Tensor
    mismatch_V: Tensor
    """`F`, voltage that each device has too much."""
    residual: Tensor
    """`(batch,)`: largest error of a device current over the largest current."""

    def of(self, inputs: Tensor) -> Operation:
        """A copy of some inputs."""
        return Operation(**{name: values.index_select(-1, inputs) for name, values in vars(self).items()})

    def put(self, inputs: Tensor, taken: Tensor, other: Operation) -> None:
        """Overwrite those of some inputs that are `taken`, `(inputs,)`."""
        some = _where(taken)
        for name, values in vars(self).items():
            theirs = getattr(other, name)
            values.index_copy_(-1, inputs[some], theirs if len(some) == len(inputs) else theirs.index_select(-1, some))


Move = Callable[[Operation, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Operating point and steps in voltages and currents -> new voltages and currents."""


@dataclass(frozen=True)
class CurvedCircuit:
    """Tiles `(tiles, rows, cols)`, S; voltages are `(tiles, rows, cols, batch)`, of sources `(tiles, rows, batch)`."""

    g_S: Tensor
    wires: Wires
    curvature_V: float

    @cached_property
    def _scale_A(self) -> Tensor:
        """`G u_0`, `(tiles, rows, cols, 1)`."""
        return self.g_S.unsqueeze(-1) * self.curvature_V

    @cached_property
    def _open(self) -> Tensor:
        """Devices that carry no current, whatever their voltage."""
        return self._scale_A == 0

    @cached_property
    def _some_open(self) -> bool:
        return bool(self._open.any())

    def currents_A(self, u_V: Tensor) -> Tensor:
        """Current through each device, `(tiles, rows, cols, batch)`, A."""
        currents_A = self.g_S.unsqueeze(-1) * sinh_law(u_V, self.curvature_V)
        return currents_A.masked_fill_(self._open, 0.0) if self._some_open else currents_A

    def _voltages_V(self, currents_A: Tensor, of_open_V: Tensor) -> Tensor:
        """Across each device that carries a current, and what is given across those that carry none."""
        return torch.where(self._open, of_open_V, self.curvature_V * torch.asinh(currents_A / self._scale_A))

    def solve(
        self, tree: Tree, v_V: Tensor, *, tolerance: float, max_iterations: int
    ) -> tuple[Operation, Tensor, Tensor]:
        """Solve by Newton's method from the ohmic solution; ends with the best point that it reached.

        Args:
            tree: the tree of these tiles at small voltage.
            v_V: voltages of the sources.
            tolerance: residual that is small enough.
            max_iterations: most steps that an input gets.

        Returns:
            The operating point, how many steps each input took and whether it converged, both `(batch,)`.

        Raises:
            SolverError: resistances that float64 cannot tell apart.
        """
        rounding = v_V.abs().amax(dim=(0, 1)) * (ROUNDING / self.curvature_V)
        enough = rounding.clamp(min=tolerance)
        now = self._at_voltages(self._ohmic(tree, v_V)[0], v_V)
        steps = torch.zeros_like(now.residual, dtype=torch.long)
        common = torch.ones_like(now.residual, dtype=torch.bool)
        while len(some := _where(common & ~(now.residual <= enough) & (steps < max_iterations))):
            common[some] = self._together(now, some, v_V[..., some], tree)
            steps[some] += 1
        # Without wires the start is the solution, unless float64 cannot write it down.
        hopeful = torch.full_like(common, not self.wires.is_ideal)
        if len(some := _where(~common & ~(now.residual <= enough))):
            self._start_again(now, some, v_V[..., some], tree)
        while len(some := _where(hopeful & ~(now.residual <= enough) & (steps < max_iterations))):
            for part in some.split(max(1, DEVICES_AT_ONCE // self.g_S.numel())):
                hopeful[part] = self._alone(now, part, v_V[..., part])
            steps[some] += 1
        return now, steps, now.residual <= enough

    def _ohmic(self, tree: Tree, v_V: Tensor) -> tuple[Tensor, Tensor]:
        """Voltages and currents of the devices if they were ohmic."""
        currents_A = tree.device_currents(v_V, v_V.new_zeros(*self.g_S.shape, v_V.shape[-1]))
        require_numbers(currents_A, self.g_S, self.wires)
        return node_voltages(v_V, currents_A, self.wires).device_V, currents_A

    def _at_voltages(self, u_V: Tensor, v_V: Tensor) -> Operation:
        return self._at(u_V, self.currents_A(u_V), v_V)

    def _at(self, u_V: Tensor, currents_A: Tensor, v_V: Tensor) -> Operation:
        mismatch_V = u_V - node_voltages(v_V, currents_A, self.wires).device_V
        # What a mismatch does to its own device's current. Wires damp it: no eigenvalue of Z is below this resistance,
        # a quarter of the segments (the largest eigenvalue of a chain of conductances is four of them).
        slope_S, wire_ohm = self._slope_S(currents_A), (self.wires.word_ohm + self.wires.bit_ohm) / 4
        error_A = (slope_S * mismatch_V).abs_().div_((slope_S * wire_ohm).add_(1.0)).amax(dim=(0, 1, 2))
        largest_A = currents_A.abs().amax(dim=(0, 1, 2)).clamp(min=torch.finfo(u_V.dtype).tiny)
        return Operation(device_V=u_V, currents_A=currents_A, mismatch_V=mismatch_V, residual=error_A / largest_A)

    def _slope_S(self, currents_A: Tensor) -> Tensor:
        return torch.hypot(currents_A, self._scale_A) / self.curvature_V

    def _together(self, now: Operation, some: Tensor, v_V: Tensor, tree: Tree) -> Tensor:
        """A step of some inputs with the common tree, in place; returns whether it was worth it."""
        before = now.residual[some]
        step_V, _ = self._step(tree, now.mismatch_V.index_select(-1, some))
        after = self._at_voltages(now.device_V.index_select(-1, some) + step_V, v_V)
        now.put(some, after.residual < before, after)
        return after.residual <= WORTH_IT * before

    def _start_again(self, now: Operation, some: Tensor, v_V: Tensor, tree: Tree) -> None:
        """Take the ohmic currents of some inputs where they are nearer to the solution, in place."""
        u_V, currents_A = self._ohmic(tree, v_V)
        ohmic = self._at(self._voltages_V(currents_A, u_V), currents_A, v_V)
        was_W, ohmic_W = self._content_W(now.of(some), v_V)[0], self._content_W(ohmic, v_V)[0]
        now.put(some, ~(was_W <= ohmic_W), ohmic)

    def _alone(self, now: Operation, some: Tensor, v_V: Tensor) -> Tensor:
        """A step of some inputs with trees of their own, in place; returns which of them moved."""
        was = now.of(some)
        step_V, step_A = self._own_step(was)
        content_W, rounding_W = self._content_W(was, v_V)
        promised_W = DESCENT * (was.mismatch_V * step_A).sum(dim=(0, 1, 2))
        moved = torch.zeros_like(was.residual, dtype=torch.bool)
        for move, factor in self._tries():
            left = _where(~moved)
            if not len(left):
                break
            moves = move(was.of(left), step_V[..., left] * factor, step_A[..., left] * factor)
            after = self._at(*moves, v_V[..., left])
            good = self._content_W(after, v_V[..., left])[0] <= (content_W + factor * promised_W + rounding_W)[left]
            largest = was.residual[left] if move == self._in_voltages else torch.inf
            good &= after.residual < largest
            now.put(some[left], good, after)
            moved[left] = good
        return moved

    def _tries(self) -> list[tuple[Move, float]]:
        """Ways to go a step, and how much of it: the next one where the last one does not lead down."""
        full: list[tuple[Move, float]] = [(self._in_voltages, 1.0), (self._smaller, 1.0)]
        return full + [(self._in_currents, 0.5**halving) for halving in range(HALVINGS)]

    def _in_voltages(self, was: Operation, step_V: Tensor, step_A: Tensor) -> tuple[Tensor, Tensor]:
        u_V = was.device_V + step_V
        return u_V, self.currents_A(u_V)

    def _smaller(self, was: Operation, step_V: Tensor, step_A: Tensor) -> tuple[Tensor, Tensor]:
        """Voltages and currents after the smaller of each device's two steps."""
        in_currents_V, currents_A = self._in_currents(was, step_V, step_A)
        in_voltages_V = was.device_V + step_V
        by_currents = (in_currents_V - was.device_V).abs() < step_V.abs()
        return (
            torch.where(by_currents, in_currents_V, in_voltages_V),
            torch.where(by_currents, currents_A, self.currents_A(in_voltages_V)),
        )

    def _in_currents(self, was: Operation, step_V: Tensor, step_A: Tensor) -> tuple[Tensor, Tensor]:
        currents_A = was.currents_A + step_A
        return self._voltages_V(currents_A, was.device_V + step_V), currents_A

    def _content_W(self, at: Operation, v_V: Tensor) -> tuple[Tensor, Tensor]:
        """The function that the solution makes smallest, and how far rounding may change it, both `(batch,)`.

        With `i u - u_0 (hypot(i, G u_0) - G u_0)` the integral of a device's voltage over its current, and
        `i Z i / 2 - V i = -i (V + left) / 2`.
        """
        source_V = v_V.unsqueeze(2)
        left_V = at.device_V - at.mismatch_V
        devices_W = at.currents_A * at.device_V
        stored_W = self.curvature_V * (torch.hypot(at.currents_A, self._scale_A) - self._scale_A)
        wires_W = at.currents_A * (source_V + left_V) / 2
        size_W = (devices_W.abs() + wires_W.abs()).sum(dim=(0, 1, 2))
        return (devices_W - stored_W - wires_W).sum(dim=(0, 1, 2)), ROUNDING * size_W

    def _step(self, tree: Tree, mismatch_V: Tensor) -> tuple[Tensor, Tensor]:
        """Newton's step with the slopes of a tree: in voltages, and in currents."""
        no_source_V = mismatch_V.new_zeros(*mismatch_V.shape[:2], mismatch_V.shape[3])
        step_A = tree.device_currents(no_source_V, -mismatch_V)
        return node_voltages(no_source_V, step_A, self.wires).device_V - mismatch_V, step_A

    def _own_step(self, was: Operation) -> tuple[Tensor, Tensor]:
        """Newton's step with a tree for each tile and input: tiles in place of inputs."""
        slope_S, mismatch_V = self._slope_S(was.currents_A).movedim(-1, 0), was.mismatch_V.movedim(-1, 0)
        tree = Tree(slope_S.flatten(0, 1), self.wires)
        step_V, step_A = self._step(tree, mismatch_V.flatten(0, 1).unsqueeze(-1))
        return step_V.view(mismatch_V.shape).movedim(0, -1), step_A.view(mismatch_V.shape).movedim(0, -1)


def _where(inputs: Tensor) -> Tensor:
    return inputs.nonzero().squeeze(-1)
