"""Memoryless formulas with units: conductance states, programming error, converters, amplifiers, wires."""

from __future__ import annotations

from hrat.physics.errors import achieved_conductance, clipping_is_possible, sigma_S
from hrat.physics.levels import nearest_state
from hrat.physics.periphery import (
    amplifier_limits_V,
    clamp_to,
    convert,
    converter_codes,
    converter_step_V,
    input_voltage,
    island_value,
    normal_scale,
)
from hrat.physics.wires import attenuated

__all__ = [
    "achieved_conductance",
    "amplifier_limits_V",
    "attenuated",
    "clamp_to",
    "clipping_is_possible",
    "convert",
    "converter_codes",
    "converter_step_V",
    "input_voltage",
    "island_value",
    "nearest_state",
    "normal_scale",
    "sigma_S",
]
