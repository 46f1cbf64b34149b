"""Kirchhoff's laws on a tile whose wires have resistance: exact, in float64, for many tiles and inputs at once."""

from __future__ import annotations

from hrat.simulation.nodal.curved import sinh_law
from hrat.simulation.nodal.effective import effective_conductance
from hrat.simulation.nodal.layers import layer_conductances
from hrat.simulation.nodal.losses import NodeVoltages
from hrat.simulation.nodal.solver import Nodal
from hrat.simulation.nodal.tile import TileSolution, TileSolver
from hrat.simulation.nodal.wires import Wires

__all__ = [
    "Nodal",
    "NodeVoltages",
    "TileSolution",
    "TileSolver",
    "Wires",
    "effective_conductance",
    "layer_conductances",
    "sinh_law",
]
