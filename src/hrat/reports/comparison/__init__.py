"""Methods side by side: figure and table."""

from __future__ import annotations

from hrat.reports.comparison.figure import comparison_figure
from hrat.reports.comparison.table import comparison_markdown, comparison_table

__all__ = ["comparison_figure", "comparison_markdown", "comparison_table"]
