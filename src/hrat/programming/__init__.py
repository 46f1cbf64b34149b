"""Target conductance -> achieved conductance."""

from __future__ import annotations

from hrat.programming.found_faults import find_faults
from hrat.programming.program import ChipLots, program, program_lots

__all__ = ["ChipLots", "find_faults", "program", "program_lots"]
