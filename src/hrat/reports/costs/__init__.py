"""Energy, time and area: section of the report's page."""

from __future__ import annotations

from hrat.reports.costs.section import CostsSection, costs_section

__all__ = ["CostsSection", "costs_section"]
