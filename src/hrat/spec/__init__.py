"""What the hardware is: memristor, array, periphery and programming, with the restrictions that they impose."""

from __future__ import annotations

from hrat.spec.assignment import parse_assignment
from hrat.spec.hardware import HardwareSpec
from hrat.spec.load import load_spec, preset_names, spec_from_toml
from hrat.spec.sections import RESTRICTIONS, Array, Device, Periphery, Programming

__all__ = [
    "RESTRICTIONS",
    "Array",
    "Device",
    "HardwareSpec",
    "Periphery",
    "Programming",
    "load_spec",
    "parse_assignment",
    "preset_names",
    "spec_from_toml",
]
