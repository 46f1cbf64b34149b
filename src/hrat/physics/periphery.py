"""Converters and amplifiers around a crossbar.

A converter (DAC or ADC) of `bits` over `+-full_scale_V` is symmetric and has a code for exactly zero volts: codes run
from `-(2^(bits-1) - 1)` to `+(2^(bits-1) - 1)`, one step is `full_scale_V / (2^(bits-1) - 1)`, and what lies beyond the
full scale saturates. Limits: no offset, no gain error, no differential nonlinearity.

Where the tiles of a layer have ADCs of their own, what is digital is the sum of their codes' values,

    s = sum_t ADC_t(clamp_swing(p_t)),

with `p_t` the amplifier's voltage of tile t. Each term is off by half a step at most where nothing saturates, so that
errors of T tiles add to `T/2` steps at worst and, being independent, to about `sqrt(T/12)` steps (Widrow and Kollar,
Quantization Noise, 2008). Limits: as of any converter here; the accumulator is wide enough for every sum.

An amplifier is linear up to its output swing and flat beyond it. Limits: the soft knee of a real output stage near its
rails is taken as sharp (Karki, TI SLOA011B: keep to the linear swing, not the saturated one). Offset, noise and finite
gain stand in `hrat.physics.amplifiers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from hrat.spec import Device, Periphery

__all__ = [
    "amplifier_limits_V",
    "bias_full_scale_V",
    "clamp_to",
    "convert",
    "converter_codes",
    "converter_step_V",
    "digital_sum",
    "digital_value",
    "digitised",
    "input_voltage",
    "relu_floor_V",
    "to_digital_units",
]

Convert = Callable[[Tensor, int, float], Tensor]
"""`convert`, or a version of it with a straight-through gradient."""


def converter_step_V(bits: int, full_scale_V: Tensor | float) -> Tensor | float:
    """Size of one step in volts."""
    return full_scale_V / ((1 << (bits - 1)) - 1)


def converter_codes(voltage_V: Tensor, bits: int, full_scale_V: Tensor | float) -> Tensor:
    """The signed code nearest to each voltage, any shape, saturating; a whole number in the type of `voltage_V`."""
    top = (1 << (bits - 1)) - 1
    return (voltage_V / converter_step_V(bits, full_scale_V)).clamp_(-top, top).round_()


def convert(voltage_V: Tensor, bits: int, full_scale_V: Tensor | float) -> Tensor:
    """Round voltages, any shape, to those of the nearest codes, saturating, V."""
    return converter_codes(voltage_V, bits, full_scale_V).mul_(converter_step_V(bits, full_scale_V))


def digitised(voltage_V: Tensor, bits: int, full_scale_V: Tensor) -> Tensor:
    """`convert` with a full scale for each entry, such as that of each tile's ADCs, broadcast: V, any shape -> V."""
    return convert(voltage_V / full_scale_V, bits, 1.0).mul_(full_scale_V)


def digital_sum(partial_V: Tensor, full_scale_V: Tensor, periphery: Periphery) -> Tensor:
    """Partial sums of a layer's tiles through their amplifiers and ADCs, added up digitally, V.

    Args:
        partial_V: what the amplifiers would put out without a limit, `(tiles, ...)`, V.
        full_scale_V: full scale of the ADCs of each tile, `(tiles,)`, V.
        periphery: names swing and resolution.
    """
    if periphery.limit_swing:
        partial_V = partial_V.clamp(*amplifier_limits_V(periphery))
    if periphery.limit_tile_adc and periphery.tile_adc_bits is not None:
        full_scale_V = full_scale_V.view(-1, *(1,) * (partial_V.ndim - 1))
        partial_V = digitised(partial_V, periphery.tile_adc_bits, full_scale_V)
    return partial_V.sum(0)


def clamp_to(voltage_V: Tensor, limit_V: float) -> Tensor:
    """Voltages clamped to `[-limit_V, +limit_V]`, any shape: an amplifier's swing or a device's read threshold, V."""
    return voltage_V.clamp(-limit_V, limit_V)


def bias_full_scale_V(bias_V: Tensor, periphery: Periphery) -> Tensor | float:
    """Full scale of the bias DACs of a layer, V: a reference voltage that is set once.

    Args:
        bias_V: biases before the DAC, `(out,)`, V.
        periphery: names `v_bias_V`, and whether each layer has a full scale of its own.
    """
    if periphery.bias_full_scale == "fixed":
        return periphery.v_bias_V
    largest_V = bias_V.detach().abs().amax()
    tiny = torch.finfo(bias_V.dtype).tiny ** 0.5  # a layer without biases must not divide by zero
    return largest_V.clamp(min=tiny, max=periphery.v_bias_V)


def amplifier_limits_V(
    periphery: Periphery, device: Device | None = None, *, rectifies: bool = False
) -> tuple[float, float]:
    """Lowest and highest output voltage of an amplifier, `(low, high)`, V; infinite where nothing limits it.

    Args:
        periphery: names the swing.
        device: given where nothing but word lines reads the output: the memristor on them, whose read threshold then
            acts here if it is the tighter limit.
        rectifies: a ReLU stands behind the amplifier, made by a single supply: `[v_floor_V, v_swing_V]`.
    """
    low, high = -math.inf, math.inf
    if periphery.limit_swing:
        low, high = -(periphery.v_swing_low_V or periphery.v_swing_V), periphery.v_swing_V
    if rectifies:
        low = relu_floor_V(periphery)
    if device is not None and device.limit_read_voltage:
        low, high = (min(max(end, -device.v_read_V), device.v_read_V) for end in (low, high))
    return low, high


def relu_floor_V(periphery: Periphery) -> float:
    """Lowest output of an amplifier with a single supply, which makes a ReLU, V; zero for an ideal one.

    The output stage of a rail-to-rail part ends tens of millivolts above its negative rail (OPA836: 0.15 V for a linear
    output on a single supply of 5 V, TI SLOS712).
    """
    return periphery.v_floor_V if periphery.limit_floor else 0.0


def input_voltage(x: Tensor, alpha: Tensor, device: Device, periphery: Periphery, convert: Convert = convert) -> Tensor:
    """Digital values, any shape -> word-line voltages of that shape: `v = DAC(clamp_read(alpha * x))`, V."""
    voltage = alpha * x
    if periphery.limit_input_dac and periphery.input_dac_bits is not None:
        return convert(voltage, periphery.input_dac_bits, device.v_read_V)
    return clamp_to(voltage, device.v_read_V) if device.limit_read_voltage else voltage


def digital_value(voltage: Tensor, alpha: Tensor, periphery: Periphery, convert: Convert = convert) -> Tensor:
    """Voltages, any shape -> digital values for a digital operation: `x = ADC(clamp_swing(v)) / alpha`."""
    if periphery.limit_adc and periphery.adc_bits is not None:
        voltage = convert(voltage, periphery.adc_bits, periphery.v_swing_V)
    return to_digital_units(voltage, alpha)


def to_digital_units(voltage: Tensor, alpha: Tensor) -> Tensor:
    """Volts -> digital units, `x = v / alpha`; `alpha` is `()`, or `(channels,)` along dimension 1 of `voltage`."""
    return voltage / (alpha if alpha.ndim == 0 else alpha.view(-1, *(1,) * (voltage.ndim - 2)))
