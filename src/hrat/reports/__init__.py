"""Tables and figures for people; they read artefacts and nothing else."""

from __future__ import annotations

from hrat.reports.artifact_tables import artifact_table, simulation_table
from hrat.reports.budget_figure import budget_figure
from hrat.reports.budget_tables import budget_table
from hrat.reports.characterisation_figure import characterisation_figure
from hrat.reports.chip_figure import chip_figure
from hrat.reports.comparison_figure import comparison_figure
from hrat.reports.comparison_tables import comparison_markdown, comparison_table
from hrat.reports.device_figure import device_figure
from hrat.reports.device_words import device_sentences, fit_table
from hrat.reports.drawing import draw_beside
from hrat.reports.experiment_page import experiment_page
from hrat.reports.page import ReportParts, write_report
from hrat.reports.programming_figure import programming_figure
from hrat.reports.side_tables import sides_page, sides_table
from hrat.reports.sides import Side, Sides, side_by_side
from hrat.reports.sweep_figure import sweep_figure
from hrat.reports.sweep_tables import sweep_table
from hrat.reports.verification_figure import verification_figure
from hrat.reports.verification_tables import verification_table

__all__ = [
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
    "experiment_page",
    "fit_table",
    "programming_figure",
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
