"""Programmed chips: figures, table, maps, and sections of the report's page."""

from __future__ import annotations

from hrat.reports.chip.errors import error_rms
from hrat.reports.chip.figure import chip_figure
from hrat.reports.chip.maps import LayerMap, layer_maps
from hrat.reports.chip.programming import programming_figure
from hrat.reports.chip.section import HistogramsSection, PulsesSection, histograms_section, layers_table, pulses_section
from hrat.reports.chip.table import artifact_table

__all__ = [
    "HistogramsSection",
    "LayerMap",
    "PulsesSection",
    "artifact_table",
    "chip_figure",
    "error_rms",
    "histograms_section",
    "layer_maps",
    "layers_table",
    "programming_figure",
    "pulses_section",
]
