"""What a programmed chip does with an input, behind one call."""

from __future__ import annotations

from hrat.simulation.behavioural import Behavioural
from hrat.simulation.estimate import estimate
from hrat.simulation.metered import Metered
from hrat.simulation.methods import Method, SolverChoice, SolverError
from hrat.simulation.network import ChipSolver
from hrat.simulation.nodal import Nodal
from hrat.simulation.simulate import SOLVERS, simulate
from hrat.simulation.spice import Amplifier, Spice
from hrat.simulation.verify import Rung, ladder, verify

__all__ = [
    "SOLVERS",
    "Amplifier",
    "Behavioural",
    "ChipSolver",
    "Metered",
    "Method",
    "Nodal",
    "Rung",
    "SolverChoice",
    "SolverError",
    "Spice",
    "estimate",
    "ladder",
    "simulate",
    "verify",
]
