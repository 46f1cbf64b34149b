"""What a programmed chip does with an input, behind one call."""

from __future__ import annotations

from hrat.simulation.behavioural import BehaviouralSolver
from hrat.simulation.simulate import SOLVERS, simulate

__all__ = ["SOLVERS", "BehaviouralSolver", "simulate"]
