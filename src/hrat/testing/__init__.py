"""The laws and contracts that hrat is built on, for networks, operations, solvers and pulse models of your own."""

from __future__ import annotations

from hrat.testing.check_laws import LAWS, check_laws
from hrat.testing.operations import check_operation
from hrat.testing.report import CheckReport, Finding

__all__ = ["LAWS", "CheckReport", "Finding", "check_laws", "check_operation"]
