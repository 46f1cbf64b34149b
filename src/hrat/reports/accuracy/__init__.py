"""Accuracy over chips and over epochs: table, and sections of the report's page."""

from __future__ import annotations

from hrat.reports.accuracy.section import AccuracySection, TrainingSection, accuracy_section, training_section
from hrat.reports.accuracy.table import simulation_table

__all__ = ["AccuracySection", "TrainingSection", "accuracy_section", "simulation_table", "training_section"]
