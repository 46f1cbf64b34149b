"""Target conductance -> achieved conductance."""

from __future__ import annotations

from hrat.programming.ageing import age
from hrat.programming.characterise import characterise
from hrat.programming.found_faults import find_faults
from hrat.programming.program import ChipChunks, program, program_in_chunks

__all__ = ["ChipChunks", "age", "characterise", "find_faults", "program", "program_in_chunks"]
