"""Devices whose current is not proportional to their voltage, and Newton's method for tiles of them.

    i = G f(u),    f(u) = u_0 sinh(u / u_0)

Field-enhanced conduction between traps or through a barrier; the read-out current of the compact model by X. Guan,
S. Yu and H.-S. P. Wong, IEEE Electron Device Lett. 33, 1405 (2012), `i = I_0 exp(-gap / gap_0) sinh(u / u_0)`, where a
device's state sets the factor and `u_0` is common to all. Written so that `G` is the conductance at small voltage.
Limits: symmetric, no dependence of `u_0` on state or temperature, states do not move.

**Newton's method** works on the voltages `u` across the devices. With their currents the wires lose voltage, and what
is left of the sources' voltages must be `u`:

    F(u) = u - left(G f(u)) = 0,    (1 + Z G f'(u)) du = -F(u)

`left` are sums along the wires, `Z` their resistance. The step is the solution of a linear tile with `-F` in series
with its devices and no source. The tree of the tile at small voltage (f' = 1) serves all inputs and all steps for as
long as each step shrinks the residual enough; inputs for which it does not go on with trees of their own, with f' as it
is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hrat.simulation.nodal.grid import Tree
from hrat.simulation.nodal.losses import node_voltages
from hrat.simulation.nodal.wires import Wires

__all__ = ["CurvedCircuit", "Operation", "sinh_law"]

WORTH_IT = 0.25
"""Largest factor from one residual to the next for which an input stays with the common tree."""
DEVICES_AT_ONCE = 2**20
"""Devices of the trees that are built at a time, about a gigabyte."""


def sinh_law(u_V: Tensor, curvature_V: float) -> Tensor:
    """`u_0 sinh(u / u_0)`, V: the voltage at which an ohmic device would carry the same current."""
    return curvature_V * torch.sinh(u_V / curvature_V)


@dataclass(kw_only=True)
class Operation:
    """Where the devices stand, and how far that is from the solution; tensors as in `CurvedCircuit`."""

    device_V: Tensor
    mismatch_V: Tensor
    """`F(u)`."""
    residual: Tensor
    """`(batch,)`: largest error of a device current over the largest current."""
    iterations: int = 0


@dataclass(frozen=True)
class CurvedCircuit:
    """Tiles `(tiles, rows, cols)`, S; voltages are `(tiles, rows, cols, batch)`, of sources `(tiles, rows, batch)`."""

    g_S: Tensor
    wires: Wires
    curvature_V: float

    def currents_A(self, u_V: Tensor) -> Tensor:
        """Through each device."""
        return self.g_S.unsqueeze(-1) * sinh_law(u_V, self.curvature_V)

    def solve(self, tree: Tree, v_V: Tensor, *, tolerance: float, max_iterations: int) -> Operation:
        """Newton's method from the ohmic solution; ends with the best that it has.

        Args:
            tree: of these tiles at small voltage.
            v_V: voltages of the sources.
            tolerance: residual that is small enough.
            max_iterations: most steps that an input gets.
        """
        ohmic_A = tree.device_currents(v_V, v_V.new_zeros(*self.g_S.shape, v_V.shape[-1]))
        now = self._at(node_voltages(v_V, ohmic_A, self.wires).device_V, v_V)
        common = torch.ones_like(now.residual, dtype=torch.bool)
        while now.iterations < max_iterations:
            left = ~(now.residual <= tolerance)
            if not bool(left.any()):
                break
            for shared, inputs in ((tree, left & common), (None, left & ~common)):
                some = inputs.nonzero().squeeze(-1)
                if len(some):
                    common[some] &= self._advance(now, some, v_V[..., some], shared)
            now.iterations += 1
        return now

    def _at(self, u_V: Tensor, v_V: Tensor) -> Operation:
        currents_A = self.currents_A(u_V)
        mismatch_V = u_V - node_voltages(v_V, currents_A, self.wires).device_V
        error_A = (self._slope_S(u_V) * mismatch_V).abs().amax(dim=(0, 1, 2))
        largest_A = currents_A.abs().amax(dim=(0, 1, 2)).clamp(min=torch.finfo(u_V.dtype).tiny)
        return Operation(device_V=u_V, mismatch_V=mismatch_V, residual=error_A / largest_A)

    def _slope_S(self, u_V: Tensor) -> Tensor:
        return self.g_S.unsqueeze(-1) * torch.cosh(u_V / self.curvature_V)

    def _advance(self, now: Operation, some: Tensor, v_V: Tensor, tree: Tree | None) -> Tensor:
        """One step of some inputs, in place; returns which of them shrank their residuals enough."""
        u_V, mismatch_V, before = now.device_V[..., some], now.mismatch_V[..., some], now.residual[some]
        step_V = self._own_step(u_V, mismatch_V) if tree is None else self._step(tree, mismatch_V)
        after = self._at(u_V + step_V, v_V)
        # With its own slopes an input may pass through larger residuals on its way.
        taken = torch.isfinite(after.residual) if tree is None else after.residual < before
        now.device_V[..., some] = torch.where(taken, after.device_V, u_V)
        now.mismatch_V[..., some] = torch.where(taken, after.mismatch_V, mismatch_V)
        now.residual[some] = torch.where(taken, after.residual, before)
        return after.residual <= WORTH_IT * before

    def _step(self, tree: Tree, mismatch_V: Tensor) -> Tensor:
        no_source_V = mismatch_V.new_zeros(*mismatch_V.shape[:2], mismatch_V.shape[3])
        currents_A = tree.device_currents(no_source_V, -mismatch_V)
        return node_voltages(no_source_V, currents_A, self.wires).device_V - mismatch_V

    def _own_step(self, u_V: Tensor, mismatch_V: Tensor) -> Tensor:
        """The same with a tree for each tile and input: tiles in place of inputs."""
        slope_S = self._slope_S(u_V).movedim(-1, 0)
        steps = []
        count = max(1, DEVICES_AT_ONCE // self.g_S.numel())
        for tiles_S, f_V in zip(slope_S.split(count), mismatch_V.movedim(-1, 0).split(count), strict=True):
            tree = Tree(tiles_S.flatten(0, 1), self.wires)
            steps.append(self._step(tree, f_V.flatten(0, 1).unsqueeze(-1)).view(f_V.shape))
        return torch.cat(steps).movedim(0, -1)
