"""Runs, chips, reports and specs side by side: reading, tables and page."""

from __future__ import annotations

from hrat.reports.sides.page import sides_page
from hrat.reports.sides.reading import read_side, side_by_side
from hrat.reports.sides.sides import Side, Sides
from hrat.reports.sides.table import sides_table

__all__ = ["Side", "Sides", "read_side", "side_by_side", "sides_page", "sides_table"]
