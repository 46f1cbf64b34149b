"""Questions about a trained network on its hardware, answered by running it: what costs what, what to change."""

from __future__ import annotations

from hrat.analysis.budget import restriction_budget
from hrat.analysis.reporting import report, report_parts
from hrat.analysis.steps import next_steps

__all__ = ["next_steps", "report", "report_parts", "restriction_budget"]
