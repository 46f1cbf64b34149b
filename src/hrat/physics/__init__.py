"""Memoryless formulas with units: states, errors, pulses and retention of devices; converters, amplifiers, wires."""

from __future__ import annotations

from hrat.physics.amplifiers import (
    Amplifiers,
    ClosedLoop,
    closed_loop,
    draw_amplifiers,
    has_amplifier_errors,
    has_read_noise,
    has_reading_errors,
    input_noise_V,
    noise_gain,
    offset_V,
)
from hrat.physics.conduction import conducting_V, is_curved
from hrat.physics.costs import conversion_J, settling_s
from hrat.physics.errors import (
    achieved_conductance,
    aim_S,
    clipping_is_possible,
    expected_S,
    has_error,
    missed_target,
    pair_error_is_gaussian,
    sigma_S,
    standard_normal,
)
from hrat.physics.faults import has_stuck_devices, stuck_devices
from hrat.physics.levels import nearest_state
from hrat.physics.periphery import (
    amplifier_limits_V,
    bias_full_scale_V,
    clamp_to,
    convert,
    converter_codes,
    converter_step_V,
    digital_sum,
    digital_value,
    digitised,
    input_voltage,
    relu_floor_V,
    to_digital_units,
)
from hrat.physics.placement import place_levels
from hrat.physics.pulses import pulse_response
from hrat.physics.reads import AnyReads, ChipReads, Draw
from hrat.physics.retention import aged_S
from hrat.physics.wires import attenuated

__all__ = [
    "Amplifiers",
    "AnyReads",
    "ChipReads",
    "ClosedLoop",
    "Draw",
    "achieved_conductance",
    "aged_S",
    "aim_S",
    "amplifier_limits_V",
    "attenuated",
    "bias_full_scale_V",
    "clamp_to",
    "clipping_is_possible",
    "closed_loop",
    "conducting_V",
    "conversion_J",
    "convert",
    "converter_codes",
    "converter_step_V",
    "digital_sum",
    "digital_value",
    "digitised",
    "draw_amplifiers",
    "expected_S",
    "has_amplifier_errors",
    "has_error",
    "has_read_noise",
    "has_reading_errors",
    "has_stuck_devices",
    "input_noise_V",
    "input_voltage",
    "is_curved",
    "missed_target",
    "nearest_state",
    "noise_gain",
    "offset_V",
    "pair_error_is_gaussian",
    "place_levels",
    "pulse_response",
    "relu_floor_V",
    "settling_s",
    "sigma_S",
    "standard_normal",
    "stuck_devices",
    "to_digital_units",
]
