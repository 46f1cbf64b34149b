"""A tile that is set up once and then serves many inputs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hrat.errors import HratError
from hrat.simulation.nodal.curved import CurvedCircuit
from hrat.simulation.nodal.effective import as_tiles, effective_conductance
from hrat.simulation.nodal.grid import Tree, require_numbers
from hrat.simulation.nodal.losses import NodeVoltages, node_voltages
from hrat.simulation.nodal.wires import Wires
from hrat.simulation.solvers import SolverError

__all__ = ["TileSolution", "TileSolver"]

VOLTAGES_AT_ONCE = 2**23
"""Devices times inputs that are solved at a time."""


@dataclass(frozen=True, kw_only=True)
class TileSolution:
    """Output currents, with iterations, residual and convergence."""

    currents_A: Tensor
    """`(..., batch, cols)`: into each virtual ground, A."""
    iterations: int
    """Most steps of Newton's method that an input took; 0 for ohmic devices."""
    residual: float
    """Largest error of a device current over the largest current of the same input; 0 for ohmic devices."""
    converged: bool
    """Whether the residual of every input is within the tolerance, or within what rounding leaves where that is more;
    if not, the currents are the best there are."""


class TileSolver:
    """Kirchhoff's laws for one or several tiles of the same shape.

    Ohmic devices take one matrix product for each batch of inputs. Curved ones, `i = G u_0 sinh(u / u_0)`, take
    Newton's method for each input; see `hrat.simulation.nodal.curved`.
    """

    def __init__(
        self,
        g_S: Tensor,
        wires: Wires,
        *,
        curvature_V: float | None = None,
        tolerance: float = 1e-12,
        max_iterations: int = 50,
    ) -> None:
        """Set up.

        Args:
            g_S: conductances (at small voltage), `(..., rows, cols)`, S.
            wires: those of every tile.
            curvature_V: `u_0` of the devices, V; None for ohmic ones.
            tolerance: residual at which Newton's method stops.
            max_iterations: most steps that it takes.

        Raises:
            HratError: conductances that are negative or not finite, or a curvature that is not positive.
            SolverError: ohmic devices and wires whose resistances float64 cannot tell apart.
        """
        if curvature_V is not None and not curvature_V > 0:
            raise HratError(
                f"expected a curvature of more than 0 V, got {curvature_V!r}; leave it out for ohmic devices"
            )
        self._tiles_S = as_tiles(g_S)
        self._shape, self._wires = g_S.shape, wires
        self._curvature_V, self._tolerance, self._max_iterations = curvature_V, tolerance, max_iterations
        if curvature_V is None:
            self._effective_S = effective_conductance(self._tiles_S, wires)

    @cached_property
    def _tree(self) -> Tree:
        return Tree(self._tiles_S, self._wires)

    def compute(self, v_V: Tensor) -> Tensor:
        """Output currents.

        Args:
            v_V: `(..., batch, rows)`, voltage of each source, V.

        Returns:
            `(..., batch, cols)`, A.

        Raises:
            SolverError: Newton's method did not converge for some input, or float64 cannot tell the tile's resistances
                apart.
        """
        return self.solve(v_V, throw=True).currents_A

    def solve(self, v_V: Tensor, *, throw: bool = False) -> TileSolution:
        """Output currents, with iterations, residual and convergence.

        Args:
            v_V: `(..., batch, rows)`, voltage of each source, V.
            throw: whether to raise where Newton's method does not converge.

        Raises:
            SolverError: Newton's method did not converge, and `throw` is set; or float64 cannot tell the tile's
                resistances apart.
        """
        sources_V = self._sources(v_V)
        if self._curvature_V is None:
            currents_A = sources_V.mT @ self._effective_S
            return TileSolution(currents_A=self._outside(currents_A), iterations=0, residual=0.0, converged=True)
        parts, solutions = [], []
        for some_V in self._in_parts(sources_V):
            solution = self._solved(some_V)
            parts.append(solution.currents_A.sum(1).mT)
            solutions.append(solution)
        whole = TileSolution(
            currents_A=self._outside(torch.cat(parts, dim=1)),
            iterations=max(solution.iterations for solution in solutions),
            residual=max(solution.residual for solution in solutions),
            converged=all(solution.converged for solution in solutions),
        )
        if throw:
            self._refuse_unsolved(whole)
        return whole

    def node_voltages(self, v_V: Tensor) -> NodeVoltages:
        """Voltages at both ends of each device.

        Args:
            v_V: `(..., batch, rows)`, voltage of each source, V.

        Returns:
            Voltages `(..., batch, rows, cols)`, V.

        Raises:
            SolverError: Newton's method did not converge for some input, or float64 cannot tell the tile's resistances
                apart.
        """
        sources_V = self._sources(v_V)
        inside = []
        for some_V in self._in_parts(sources_V):
            solution = self._solved(some_V)
            self._refuse_unsolved(solution)
            inside.append(node_voltages(some_V, solution.currents_A, self._wires))
        word_V, bit_V = (
            self._outside(torch.cat([getattr(part, name) for part in inside], dim=-1).movedim(-1, 1))
            for name in ("word_V", "bit_V")
        )
        return NodeVoltages(word_V=word_V, bit_V=bit_V)

    def _solved(self, sources_V: Tensor) -> TileSolution:
        """Output currents, and the current of each device, `(tiles, rows, cols, batch)`, A."""
        if self._curvature_V is None:
            nothing_V = sources_V.new_zeros(*self._tiles_S.shape, sources_V.shape[-1])
            currents_A = require_numbers(self._tree.device_currents(sources_V, nothing_V), self._tiles_S, self._wires)
            return TileSolution(currents_A=currents_A, iterations=0, residual=0.0, converged=True)
        circuit = CurvedCircuit(self._tiles_S, self._wires, self._curvature_V)
        operation, steps, converged = circuit.solve(
            self._tree, sources_V, tolerance=self._tolerance, max_iterations=self._max_iterations
        )
        return TileSolution(
            currents_A=operation.currents_A,
            iterations=int(steps.max()),
            residual=float(operation.residual.nan_to_num(nan=torch.inf).max()),
            converged=bool(converged.all()),
        )

    def _refuse_unsolved(self, solution: TileSolution) -> None:
        if not solution.converged:
            raise SolverError(
                f"tile of {self._shape[-2]}x{self._shape[-1]} devices with a curvature of {self._curvature_V:g} V: "
                f"expected a residual within {self._tolerance:g}, got {solution.residual:.3g} after "
                f"{solution.iterations} steps; smaller input voltages, a larger curvature_V or more max_iterations "
                "may help"
            )

    def _sources(self, v_V: Tensor) -> Tensor:
        """`(..., batch, rows)` -> `(tiles, rows, batch)`."""
        expected = (*self._shape[:-2], "batch", self._shape[-2])
        if v_V.ndim != len(expected) or v_V.shape[-1] != expected[-1] or v_V.shape[:-2] != self._shape[:-2]:
            raise HratError(f"expected voltages of shape {expected}, got {tuple(v_V.shape)}")
        return v_V.to(self._tiles_S).reshape(-1, *v_V.shape[-2:]).mT

    def _outside(self, values: Tensor) -> Tensor:
        return values.reshape(*self._shape[:-2], *values.shape[1:])

    def _in_parts(self, sources_V: Tensor) -> tuple[Tensor, ...]:
        parts: tuple[Tensor, ...] = sources_V.split(max(1, VOLTAGES_AT_ONCE // self._tiles_S.numel()), dim=-1)
        return parts
