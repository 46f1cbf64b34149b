"""Formulas of `hrat.physics` on a whole spec: they take what they use of it, and most tests have a spec at hand."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from hrat import physics
from hrat.spec import HardwareSpec

__all__ = [
    "achieved_conductance",
    "aim_S",
    "clipping_is_possible",
    "expected_S",
    "has_error",
    "input_voltage",
    "pair_error_is_gaussian",
    "place_levels",
    "sigma_S",
    "stuck_devices",
]


def sigma_S(target_S: Tensor, spec: HardwareSpec) -> Tensor | float:
    return physics.sigma_S(target_S, spec.device, spec.programming)


def aim_S(target_S: Tensor, spec: HardwareSpec) -> Tensor:
    return physics.aim_S(target_S, spec.programming)


def expected_S(target_S: Tensor, spec: HardwareSpec) -> Tensor:
    return physics.expected_S(target_S, spec.programming)


def achieved_conductance(target_S: Tensor, spec: HardwareSpec, **options: Any) -> Tensor:
    return physics.achieved_conductance(target_S, spec.device, spec.programming, spec.faults, **options)


def has_error(spec: HardwareSpec) -> bool:
    return physics.has_error(spec.programming, spec.faults)


def pair_error_is_gaussian(spec: HardwareSpec) -> bool:
    return physics.pair_error_is_gaussian(spec.device, spec.programming, spec.faults)


def clipping_is_possible(spec: HardwareSpec) -> bool:
    return physics.clipping_is_possible(spec.device, spec.programming)


def stuck_devices(like: Tensor, spec: HardwareSpec, **options: Any) -> tuple[Tensor, Tensor]:
    return physics.stuck_devices(like, spec.device, spec.faults, **options)


def place_levels(spec: HardwareSpec, n: int) -> tuple[float, ...]:
    return physics.place_levels(spec.device, spec.programming, n)


def input_voltage(x: Tensor, alpha: Tensor, spec: HardwareSpec) -> Tensor:
    return physics.input_voltage(x, alpha, spec.device, spec.periphery)
