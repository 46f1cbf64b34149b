"""Sensible next values of the numbers of a spec: one bit more, half of an error, half as much again of a voltage."""

from __future__ import annotations

from dataclasses import dataclass

from hrat.spec import HardwareSpec

__all__ = ["NextStep", "next_steps"]

MORE = 1.5
LESS = 0.5
WIRES = ("r_word_ohm", "r_bit_ohm")
MOST_STATE_BITS, MOST_CONVERTER_BITS = 8, 16


@dataclass(frozen=True)
class NextStep:
    """A number, and what it would be next."""

    restriction: str
    """Which restriction it eases."""
    field: str
    before: float
    after: float
    spec: HardwareSpec


def next_steps(spec: HardwareSpec, times: int = 1) -> list[NextStep]:
    """Each number of the spec that limits something, a step better.

    One bit more of states and converters (twice the states, half the step), half of the programming error, of stuck
    devices and of the wires' resistance, and half as much again of voltages: the read threshold, the swing, the full
    scale of the bias DAC. How hard each step is for a given technology is for its designer to say.

    Args:
        spec: the hardware.
        times: how many such steps at once.
    """
    wanted: list[tuple[str, str, float]] = []
    device, programming = spec.device, spec.programming
    if device.weight_bits is not None:
        wanted.append(("states", "device.weight_bits", min(MOST_STATE_BITS, device.weight_bits + times)))
    if programming.sigma_rel is not None:
        wanted.append(("error", "programming.sigma_rel", LESS**times * programming.sigma_rel))
    for restriction, name in (("read_voltage", "device.v_read_V"), ("swing", "periphery.v_swing_V")):
        wanted.append((restriction, name, MORE**times * _value(spec, name)))
    wanted.append(("bias_dac", "periphery.v_bias_V", MORE**times * spec.periphery.v_bias_V))
    for restriction in ("bias_dac", "input_dac", "adc", "tile_adc"):
        bits = getattr(spec.periphery, f"{restriction}_bits")
        if bits is not None:
            wanted.append((restriction, f"periphery.{restriction}_bits", min(MOST_CONVERTER_BITS, bits + times)))
    for restriction, section, names in (("wires", "array", WIRES), ("faults", "faults", ("stuck_on", "stuck_off"))):
        for name in names:
            wanted.append((restriction, f"{section}.{name}", LESS**times * _value(spec, f"{section}.{name}")))
    on = spec.restrictions()
    return [
        NextStep(restriction, field, float(_value(spec, field)), float(after), spec.replace({field: after}))
        for restriction, field, after in wanted
        if on[restriction] and after != _value(spec, field)
    ]


def _value(spec: HardwareSpec, field: str) -> float:
    section, name = field.split(".")
    value: float = getattr(getattr(spec, section), name)
    return value
