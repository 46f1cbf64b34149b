"""Experiments: recipes as data, runs, comparisons, parameter sweeps, the restriction budget and reports.

Other rooms import from here, not from the packages within.
"""

from __future__ import annotations

from hrat.experiments.budget import next_steps, restriction_budget
from hrat.experiments.comparison import compare, demo, spec_summary
from hrat.experiments.recipes import (
    METHODS,
    NETWORKS,
    Method,
    Recipe,
    RecipeError,
    build_network,
    load_recipe,
    recipe_names,
)
from hrat.experiments.reporting import ReportSource, WrittenReport, read_report_source, report, report_parts
from hrat.experiments.running import Run, load_run, train
from hrat.experiments.sweeps import Axis, Trial, parse_axis, reproduce, run_trials, sweep

__all__ = [
    "METHODS",
    "NETWORKS",
    "Axis",
    "Method",
    "Recipe",
    "RecipeError",
    "ReportSource",
    "Run",
    "Trial",
    "WrittenReport",
    "build_network",
    "compare",
    "demo",
    "load_recipe",
    "load_run",
    "next_steps",
    "parse_axis",
    "read_report_source",
    "recipe_names",
    "report",
    "report_parts",
    "reproduce",
    "restriction_budget",
    "run_trials",
    "spec_summary",
    "sweep",
    "train",
]
