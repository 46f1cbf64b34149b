"""Simulation of programmed chips: one call for every solver."""

from __future__ import annotations

from hrat.simulation.behavioural import Behavioural
from hrat.simulation.estimate import estimate
from hrat.simulation.metered import Metered
from hrat.simulation.network import ChipSolver
from hrat.simulation.nodal import Nodal
from hrat.simulation.simulate import SOLVERS, simulate
from hrat.simulation.solvers import Solver, SolverChoice, SolverError
from hrat.simulation.spice import Amplifier, Spice
from hrat.simulation.verify import Rung, ladder, verify

__all__ = [
    "SOLVERS",
    "Amplifier",
    "Behavioural",
    "ChipSolver",
    "Metered",
    "Nodal",
    "Rung",
    "Solver",
    "SolverChoice",
    "SolverError",
    "Spice",
    "estimate",
    "ladder",
    "simulate",
    "verify",
]
