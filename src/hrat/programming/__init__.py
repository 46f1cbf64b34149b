"""Target conductance -> achieved conductance."""

from __future__ import annotations

from hrat.programming.ageing import age
from hrat.programming.characterise import characterise
from hrat.programming.program import ChipLots, program, program_lots

__all__ = ["ChipLots", "age", "characterise", "program", "program_lots"]
