"""Target conductance -> achieved conductance."""

from __future__ import annotations

from hrat.programming.program import program

__all__ = ["program"]
