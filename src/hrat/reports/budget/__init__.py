"""The restriction budget: figure, table, and section of the report's page."""

from __future__ import annotations

from hrat.reports.budget.figure import budget_figure
from hrat.reports.budget.section import BudgetSection, budget_section
from hrat.reports.budget.table import budget_table

__all__ = ["BudgetSection", "budget_figure", "budget_section", "budget_table"]
