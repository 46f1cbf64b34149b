"""Simulation of programmed chips: one call for every solver."""

from __future__ import annotations

from hrat.simulation.behavioural import Behavioural
from hrat.simulation.calibrating import ChipCalibration, calibrate_chip
from hrat.simulation.estimating import estimate
from hrat.simulation.metered import Metered
from hrat.simulation.network import ChipSolver
from hrat.simulation.nodal import Nodal
from hrat.simulation.simulating import SOLVERS, simulate
from hrat.simulation.solvers import LayerModel, LinearModel, Solver, SolverChoice, SolverError, Statistics
from hrat.simulation.spice import Amplifier, Spice
from hrat.simulation.verifying import Rung, ladder, verify

__all__ = [
    "SOLVERS",
    "Amplifier",
    "Behavioural",
    "ChipCalibration",
    "ChipSolver",
    "LayerModel",
    "LinearModel",
    "Metered",
    "Nodal",
    "Rung",
    "Solver",
    "SolverChoice",
    "SolverError",
    "Spice",
    "Statistics",
    "calibrate_chip",
    "estimate",
    "ladder",
    "simulate",
    "verify",
]
