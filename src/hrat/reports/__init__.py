"""Tables, figures and pages for people, by subject; they read artefacts and specs, whose devices they may simulate."""

from __future__ import annotations

from hrat.reports.accuracy import simulation_table
from hrat.reports.budget import budget_figure, budget_table
from hrat.reports.chip import artifact_table, chip_figure, programming_figure
from hrat.reports.comparison import comparison_figure, comparison_markdown, comparison_table
from hrat.reports.device import characterisation_figure, device_figure, device_sentences, fit_table
from hrat.reports.drawing import draw_beside, figure_format
from hrat.reports.page import MAX_TILES, ReportParts, write_report
from hrat.reports.sides import Side, Sides, side_by_side, sides_page, sides_table
from hrat.reports.sweep import experiment_page, sweep_figure, sweep_table
from hrat.reports.verification import verification_figure, verification_table
from hrat.reports.words import duration, percent, safe_markup

__all__ = [
    "MAX_TILES",
    "ReportParts",
    "Side",
    "Sides",
    "artifact_table",
    "budget_figure",
    "budget_table",
    "characterisation_figure",
    "chip_figure",
    "comparison_figure",
    "comparison_markdown",
    "comparison_table",
    "device_figure",
    "device_sentences",
    "draw_beside",
    "duration",
    "experiment_page",
    "figure_format",
    "fit_table",
    "percent",
    "programming_figure",
    "safe_markup",
    "side_by_side",
    "sides_page",
    "sides_table",
    "simulation_table",
    "sweep_figure",
    "sweep_table",
    "verification_figure",
    "verification_table",
    "write_report",
]
