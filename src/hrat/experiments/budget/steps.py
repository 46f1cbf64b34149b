"""Sensible next values of the numbers of a spec: one bit more, half of an error, half as much again of a voltage."""

from __future__ import annotations

from dataclasses import dataclass

from hrat.spec import RESTRICTIONS, Easing, HardwareSpec

__all__ = ["NextStep", "next_steps"]

MORE = 1.5
LESS = 0.5


@dataclass(frozen=True)
class NextStep:
    """A number of the spec and its next value."""

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
    steps: list[NextStep] = []
    for restriction in RESTRICTIONS.values():
        if not restriction.is_on(spec):
            continue
        for easing in restriction.eased_by:
            field = f"{restriction.section}.{easing.field}"
            before = _value(spec, field)
            if before is None:
                continue
            after = _eased(before, easing, times)
            if after != before:
                steps.append(
                    NextStep(restriction.name, field, float(before), float(after), spec.replace({field: after}))
                )
    return steps


def _eased(value: float, easing: Easing, times: int) -> float:
    if easing.change == "bit more":
        return min(easing.most, value + times)
    return value * (MORE if easing.change == "larger" else LESS) ** times


def _value(spec: HardwareSpec, field: str) -> float | None:
    section, name = field.split(".")
    value: float | None = getattr(getattr(spec, section), name)
    return value
