"""The making of a report: chips are run to find out what its page shows."""

from __future__ import annotations

from hrat.experiments.reporting.findings import report, report_parts
from hrat.experiments.reporting.sources import ReportSource, WrittenReport, read_report_source

__all__ = ["ReportSource", "WrittenReport", "read_report_source", "report", "report_parts"]
