"""Target conductance -> achieved conductance."""

from __future__ import annotations

from hrat.programming.program import ChipLots, program, program_lots

__all__ = ["ChipLots", "program", "program_lots"]
