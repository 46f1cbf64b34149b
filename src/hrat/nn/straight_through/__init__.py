"""The restrictions as autograd functions: the chip's formula forward, a straight-through gradient backward.

Forward, each function calls the formula of `hrat.physics` or `hrat.encoding` that the simulation of a chip uses as
well. Backward, rounding lets the gradient through unchanged, and a clamp or a saturating converter stops it for what
lies beyond the limit. The gradients are written out so that each large tensor is read few times and little is saved.
"""

from __future__ import annotations

from hrat.nn.straight_through.batch_norm import normalise
from hrat.nn.straight_through.signals import OutputStage, apply_to_digital_input, convert_ste, digital_sum_ste
from hrat.nn.straight_through.statistics import batch_statistics
from hrat.nn.straight_through.weights import pair_of, realise

__all__ = [
    "OutputStage",
    "apply_to_digital_input",
    "batch_statistics",
    "convert_ste",
    "digital_sum_ste",
    "normalise",
    "pair_of",
    "realise",
]
