"""The making of a report: chips are run to find out what its page shows."""

from __future__ import annotations

from hrat.experiments.reporting.findings import report, report_parts

__all__ = ["report", "report_parts"]
