"""Target conductance -> achieved conductance."""

from __future__ import annotations

from hrat.programming.ageing import age
from hrat.programming.characterising import characterise
from hrat.programming.engine import Cells, Pulser
from hrat.programming.found_faults import find_faults
from hrat.programming.programming_chips import ChipChunks, program, program_in_chunks

__all__ = ["Cells", "ChipChunks", "Pulser", "age", "characterise", "find_faults", "program", "program_in_chunks"]
