"""The restriction budget, measured by running a trained network under other hardware."""

from __future__ import annotations

from hrat.experiments.budget.measuring import restriction_budget
from hrat.experiments.budget.steps import next_steps

__all__ = ["next_steps", "restriction_budget"]
