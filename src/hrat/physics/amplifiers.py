"""Errors of the amplifiers behind bit lines: offset, noise, finite gain, tolerance of the feedback resistor.

An amplifier holds its summing node at the voltage of its other input. To this node come the bit line, with devices of
conductance `G_i` to word lines at `u_i`, and `m` resistors of the size of the feedback resistor (the bias DAC's, and
one from an inner amplifier whose output is taken off). Kirchhoff's current law at the node, with an error `e` in series
with the input and an open-loop gain `A`, gives

    V_out = (t X + N e) / (1 + N / A),     N = 1 + t (R_f sum_i G_i + m),     t = R_f' / R_f = 1 + delta

where `X` is the output of an ideal amplifier. `N` is the noise gain: it multiplies what is wrong at the input, be it
offset or noise, and divides the open-loop gain. An array with many devices in low states has a large `N` though its
signal is small.

A reading also has the noise of its devices, `G_i (1 + rho z)` with `z ~ N(0, 1)` for each device and reading. The
output then has a further standard deviation of `R_f rho sqrt(sum_i (G_i u_i)^2)`: a sum of independent Gaussians is
one, so that one number for each output is drawn, whatever the number of devices. What wires take off it is left out.

Sources: noise gain of a transimpedance stage with several inputs, e.g. Texas Instruments SBOA354 and Analog Devices
MT-033; white noise density to root mean square, `sqrt(density^2 bandwidth)`, TI SLVA043. Limits: offsets and noise of
different amplifiers are independent; no drift of the offset with temperature, no input bias current (its product with
`R_f` adds to the offset), no 1/f corner; the resistors of the bias DAC and between two amplifiers are exact, which
leaves one tolerance for a column.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from hrat.physics.errors import standard_normal
from hrat.spec import Device, Periphery

__all__ = [
    "Amplifiers",
    "ClosedLoop",
    "closed_loop",
    "draw_amplifiers",
    "has_amplifier_errors",
    "has_read_noise",
    "has_reading_errors",
    "input_noise_V",
    "noise_gain",
    "offset_V",
]


class Amplifiers(NamedTuple):
    """What a chip has drawn for some amplifiers, each any shape."""

    offset_V: Tensor
    """Input-referred offset, V."""
    r_f_error: Tensor
    """Relative error of the feedback resistor."""


class ClosedLoop(NamedTuple):
    """What an amplifier with its feedback makes of an ideal output and of an error at its input."""

    factor: Tensor
    """Factor on the ideal output."""
    of_input: Tensor
    """Factor on what stands in series with the input: the noise gain, less what a finite open-loop gain leaves."""


def has_amplifier_errors(periphery: Periphery) -> bool:
    """Whether amplifiers do anything else than the ideal one within its limits, noise among it."""
    return (
        offset_V(periphery) > 0
        or _tolerance(periphery) > 0
        or _gain(periphery) is not None
        or (input_noise_V(periphery) > 0)
    )


def has_read_noise(device: Device) -> bool:
    """Whether devices differ from reading to reading."""
    return device.limit_read_noise and device.read_noise_rel > 0


def has_reading_errors(device: Device, periphery: Periphery) -> bool:
    """Whether two readings of the same input differ, by devices or amplifiers."""
    return has_read_noise(device) or input_noise_V(periphery) > 0


def input_noise_V(periphery: Periphery) -> float:
    """Root mean square of an amplifier's noise in one reading, at its input, V."""
    if not periphery.limit_noise:
        return 0.0
    density = periphery.amplifier_noise_V_rtHz * math.sqrt(periphery.amplifier_bandwidth_Hz)
    return math.hypot(periphery.amplifier_noise_V, density)


def draw_amplifiers(
    periphery: Periphery,
    shape: tuple[int, ...],
    *,
    like: Tensor,
    generator: torch.Generator | None = None,
    strength: Tensor | float | None = 1.0,
    offsets: bool = True,
) -> Amplifiers:
    """Draw what a chip has: offsets and feedback resistors of some amplifiers.

    Args:
        periphery: names offset and tolerance.
        shape: shape of the amplifiers.
        like: gives type and device.
        generator: source of the random numbers; torch's default one where none is given.
        strength: factor on both (a training schedule may begin with less than all of it); None to draw nothing, for
            amplifiers with no error but their gain.
        offsets: False to leave offsets at zero.
    """

    def drawn(spread: float) -> Tensor:
        if spread == 0 or strength is None:
            return like.new_zeros(shape)
        return standard_normal(like.new_empty(shape), generator).mul_(spread).mul_(strength)

    return Amplifiers(drawn(offset_V(periphery) if offsets else 0.0), drawn(_tolerance(periphery)))


def noise_gain(load_S: Tensor, r_f_ohm: Tensor | float, resistors: Tensor | float) -> Tensor:
    """`N = 1 + R_f sum_i G_i + m`: what an ideal amplifier multiplies an error at its input by.

    Args:
        load_S: conductance of all devices of the bit line, any shape, S.
        r_f_ohm: feedback resistance, ohm.
        resistors: feedback resistance over that of the other resistors at the summing node, summed over these.
    """
    return 1.0 + (r_f_ohm * load_S + resistors)


def closed_loop(
    load_S: Tensor, r_f_ohm: Tensor | float, resistors: int, r_f_error: Tensor, periphery: Periphery
) -> ClosedLoop:
    """Factors of an amplifier on its ideal output and on what stands in series with its input.

    Args:
        load_S: conductance of all devices of the bit line, any shape, S.
        r_f_ohm: nominal feedback resistance, ohm.
        resistors: further resistors of that size at the summing node.
        r_f_error: relative error of the feedback resistor, broadcast.
        periphery: names the open-loop gain.
    """
    factor = 1.0 + r_f_error
    of_input = noise_gain(load_S, r_f_ohm * factor, factor * resistors)
    gain = _gain(periphery)
    if gain is None:
        return ClosedLoop(factor, of_input)
    left = 1.0 / (1.0 + of_input / gain)
    return ClosedLoop(factor * left, of_input * left)


def offset_V(periphery: Periphery) -> float:
    """Standard deviation of the amplifiers' offsets in force, V."""
    return periphery.amplifier_offset_V if periphery.limit_offset else 0.0


def _tolerance(periphery: Periphery) -> float:
    return periphery.r_f_tolerance_rel if periphery.limit_mismatch else 0.0


def _gain(periphery: Periphery) -> float | None:
    return periphery.amplifier_gain if periphery.limit_gain else None
