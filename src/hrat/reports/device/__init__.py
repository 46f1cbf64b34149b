"""Devices: figures, sentences, the table of a fit, and the hardware in the report's page."""

from __future__ import annotations

from hrat.reports.device.characterisation import characterisation_figure
from hrat.reports.device.figure import device_figure
from hrat.reports.device.section import HardwareSection, hardware_sections
from hrat.reports.device.sentences import device_sentences
from hrat.reports.device.table import fit_table

__all__ = [
    "HardwareSection",
    "characterisation_figure",
    "device_figure",
    "device_sentences",
    "fit_table",
    "hardware_sections",
]
