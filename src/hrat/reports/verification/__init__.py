"""Verification by deeper simulations: figure, table, and section of the report's page."""

from __future__ import annotations

from hrat.reports.verification.figure import verification_figure
from hrat.reports.verification.section import VerificationSection, verification_section
from hrat.reports.verification.table import verification_table

__all__ = ["VerificationSection", "verification_figure", "verification_section", "verification_table"]
