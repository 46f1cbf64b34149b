"""Specification of the hardware: memristor, array, periphery, programming, and the restrictions that they impose."""

from __future__ import annotations

from hrat.spec.assignment import parse_assignment
from hrat.spec.costs import COST_SOURCES
from hrat.spec.hardware import HardwareSpec
from hrat.spec.lifetime import Faults, Retention
from hrat.spec.load import load_spec, part_names, preset_names, spec_from_toml
from hrat.spec.programming import TABLE_PROBABILITIES, Programming
from hrat.spec.pulses import PULSE_MODELS, JumpTable, LinearStep, Pulses, SoftBounds, StanfordPku, Vteam
from hrat.spec.restrictions import RESTRICTIONS, Easing, Restriction
from hrat.spec.sections import SECTIONS, Array, Device, Periphery
from hrat.spec.toml import toml_table

__all__ = [
    "COST_SOURCES",
    "PULSE_MODELS",
    "RESTRICTIONS",
    "SECTIONS",
    "TABLE_PROBABILITIES",
    "Array",
    "Device",
    "Easing",
    "Faults",
    "HardwareSpec",
    "JumpTable",
    "LinearStep",
    "Periphery",
    "Programming",
    "Pulses",
    "Restriction",
    "Retention",
    "SoftBounds",
    "StanfordPku",
    "Vteam",
    "load_spec",
    "parse_assignment",
    "part_names",
    "preset_names",
    "spec_from_toml",
    "toml_table",
]
