"""The report: one HTML file that needs nothing else, with pictures and tables beside it."""

from __future__ import annotations

from hrat.reports.page.parts import ReportParts
from hrat.reports.page.write import MAX_TILES, write_report

__all__ = ["MAX_TILES", "ReportParts", "write_report"]
