"""Methods side by side, on the same chips."""

from __future__ import annotations

from hrat.experiments.comparison.side_by_side import compare, demo, spec_summary

__all__ = ["compare", "demo", "spec_summary"]
