"""Sweeps and reproduced experiments: figure, table and page."""

from __future__ import annotations

from hrat.reports.sweep.figure import sweep_figure
from hrat.reports.sweep.page import experiment_page
from hrat.reports.sweep.table import sweep_table

__all__ = ["experiment_page", "sweep_figure", "sweep_table"]
