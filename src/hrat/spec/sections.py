"""The sections of a hardware spec: device, array and periphery here, the others in the files beside this one.

SI units, named in each field. The defaults are those of the preset `generic-4bit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from hrat.errors import SpecError
from hrat.names import check_name
from hrat.spec.base import Count, NotNegative, Part, Positive, Values
from hrat.spec.costs import Costs
from hrat.spec.lifetime import Faults, Retention
from hrat.spec.programming import Programming
from hrat.spec.pulses import PULSE_MODELS, Pulses

__all__ = ["SECTIONS", "Array", "Device", "Periphery"]

ConverterBits = Annotated[int, Field(ge=2, le=16)]

MOST_TOLERANCE = 0.1
"""Largest tolerance of a resistor: a Gaussian of that width stays ten standard deviations above zero."""


class Device(Part):
    """The memristor."""

    clears: ClassVar[Mapping[str, tuple[str, ...]]] = {"weight_bits": ("levels_S",), "levels_S": ("weight_bits",)}

    name: str = "memristor"
    """Name or material of the device."""
    g_min_S: Positive = 50e-6
    """Lowest conductance of the window, S."""
    g_max_S: Positive = 200e-6
    """Highest conductance of the window, S."""
    weight_bits: Annotated[int, Field(ge=1, le=8)] | None = 4
    """The device has 2**weight_bits states, evenly spaced over the window; excludes levels_S."""
    levels_S: Values | None = None
    """Measured states, ascending, within the window, S; excludes weight_bits."""
    pairs: Literal["one_sided", "centred"] = "one_sided"
    """How a pair shares a weight: one_sided, one partner in the lowest state; centred, both off the middle."""
    limit_states: bool = True
    """Restriction: conductances are rounded to the device's states."""
    v_read_V: Positive = 0.3
    """Largest word-line voltage, of either sign, that leaves the state untouched, V."""
    limit_read_voltage: bool = True
    """Restriction: word-line voltages are clamped to +-v_read_V."""
    curvature_V: Positive | None = None
    """Voltage u_0 of devices whose current is G u_0 sinh(u / u_0), G being that at small voltages, V; None: ohmic."""
    limit_curvature: bool = True
    """Restriction: devices conduct more than in proportion to their voltage, by curvature_V."""
    read_noise_rel: NotNegative = 0.0
    """Standard deviation of a conductance from reading to reading, relative to it; white, each device for itself."""
    limit_read_noise: bool = True
    """Restriction: inference reads with read_noise_rel; verifying always does."""

    @property
    def g_range_S(self) -> float:
        """Width of the conductance window, S."""
        return self.g_max_S - self.g_min_S

    @property
    def n_states(self) -> int | None:
        """Number of states in force; None where the conductance is continuous (none given, or limit_states off)."""
        if not self.limit_states:
            return None
        if self.levels_S is not None:
            return len(self.levels_S)
        return None if self.weight_bits is None else 2**self.weight_bits

    @property
    def states_S(self) -> tuple[float, ...]:
        """The states in force, ascending, S; the two ends of the window where the conductance is continuous."""
        if self.limit_states and self.levels_S is not None:
            return self.levels_S
        top = (self.n_states or 2) - 1
        # A weighted mean of the ends, so that both ends are met exactly.
        return tuple(self.g_min_S * ((top - i) / top) + self.g_max_S * (i / top) for i in range(top + 1))

    @model_validator(mode="after")
    def _check(self) -> Device:
        check_name(self.name, "device.name", error=SpecError)
        if self.g_max_S > 1.0 or self.v_read_V > 100.0:
            raise SpecError(
                f"device: expected siemens, volts; got g_max_S = {self.g_max_S:g} S, v_read_V = {self.v_read_V:g} V, "
                "which no memristor has; 200 uS are 200e-6, 300 mV are 0.3"
            )
        if self.g_min_S >= self.g_max_S:
            raise SpecError(
                f"device: expected g_min_S < g_max_S, got g_min_S = {self.g_min_S:g} and g_max_S = {self.g_max_S:g} S"
            )
        if self.levels_S is not None:
            self._check_levels(self.levels_S)
        if self.limit_states and self.weight_bits is None and self.levels_S is None:
            raise SpecError(
                "device: limit_states is on, but neither weight_bits nor levels_S is given; "
                "give one of them, or set limit_states to false for a continuous conductance"
            )
        return self

    def _check_levels(self, levels_S: tuple[float, ...]) -> None:
        if self.weight_bits is not None:
            raise SpecError(
                f"device: expected weight_bits or levels_S, got both ({self.weight_bits} bits and {len(levels_S)} "
                "levels); remove one of them"
            )
        if len(levels_S) < 2:
            raise SpecError(f"device.levels_S: expected at least 2 states, got {len(levels_S)}")
        for i, (lower, upper) in enumerate(pairwise(levels_S)):
            if upper <= lower:
                fault = "a duplicate" if upper == lower else "a step down"
                raise SpecError(
                    f"device.levels_S: expected ascending states, got {fault} at position {i + 1} "
                    f"({lower:g} S, then {upper:g} S); sort the list and remove duplicates"
                )
        for level in (levels_S[0], levels_S[-1]):
            if not self.g_min_S <= level <= self.g_max_S:
                raise SpecError(
                    f"device.levels_S: expected states within [g_min_S, g_max_S] = [{self.g_min_S:g}, "
                    f"{self.g_max_S:g}] S, got {level:g} S; widen the window, or check the unit (siemens)"
                )


class Array(Part):
    """One crossbar tile. A cell is one differential pair of devices."""

    rows: Count = 128
    """Word lines of a tile (inputs)."""
    cols: Count = 128
    """Bit lines of a tile (outputs)."""
    r_word_ohm: NotNegative = 1.0
    """Resistance of one segment of a word line, between neighbouring devices and from the driver to the first, ohm."""
    r_bit_ohm: NotNegative = 1.0
    """Resistance of one segment of a bit line, between neighbouring devices and from the last to the amplifier, ohm."""
    r_driver_ohm: NotNegative = 0.0
    """Output resistance of what drives a word line, ohm."""
    r_sense_ohm: NotNegative = 0.0
    """Resistance between the end of a bit line and the virtual ground of its amplifier, ohm."""
    drive: Literal["one_end", "both_ends"] = "one_end"
    """one_end: word lines are driven at their first device; both_ends: at their last one too, by a second driver."""
    limit_wires: bool = False
    """Restriction: voltage is lost along the wires (IR drop)."""


class Periphery(Part):
    """Amplifiers and converters around the array."""

    v_swing_V: Positive = 1.0
    """Largest linear output voltage of an amplifier, of either sign, V."""
    v_swing_low_V: Positive | None = None
    """Largest negative output voltage of an amplifier, as a positive number, V; None: v_swing_V."""
    limit_swing: bool = True
    """Restriction: amplifier outputs are clamped to [-v_swing_low_V, v_swing_V]."""
    v_floor_V: NotNegative = 0.0
    """Lowest output voltage of an amplifier with a single supply, which makes a ReLU, V."""
    limit_floor: bool = True
    """Restriction: a ReLU between crossbars yields no less than v_floor_V."""
    amplifier_offset_V: NotNegative = 0.0
    """Input-referred offset of an amplifier: standard deviation over the amplifiers of a chip, V."""
    limit_offset: bool = True
    """Restriction: each amplifier of a chip has an offset, which its noise gain multiplies."""
    amplifier_noise_V: NotNegative = 0.0
    """Input-referred noise of an amplifier: root mean square over its bandwidth, at each reading, V."""
    amplifier_noise_V_rtHz: NotNegative = 0.0
    """Density of further white noise, input-referred, V/sqrt(Hz); over amplifier_bandwidth_Hz."""
    amplifier_bandwidth_Hz: Positive = 1e6
    """Noise bandwidth of a reading, pi/2 times the corner of a single pole, Hz."""
    limit_noise: bool = True
    """Restriction: each reading has the amplifiers' noise, which the noise gain multiplies."""
    amplifier_gain: Annotated[float, Field(gt=1)] | None = None
    """Open-loop gain of an amplifier at DC; None: without bound."""
    limit_gain: bool = True
    """Restriction: the open-loop gain of amplifiers is finite."""
    r_f_tolerance_rel: NotNegative = 0.0
    """Tolerance of feedback resistors, relative: standard deviation over the amplifiers of a chip."""
    limit_mismatch: bool = True
    """Restriction: feedback resistors differ by their tolerance, and so does the gain of columns."""
    readout: Literal["dual_rail", "two_stage", "reference_column"] = "dual_rail"
    """dual_rail: rows also driven inverted; two_stage: I- has an amplifier; reference_column: one I- for each tile."""
    bias_dac_bits: ConverterBits | None = 6
    """Resolution of the bias DAC, bits."""
    v_bias_V: Positive = 1.0
    """Full scale of the bias DAC, of either sign, V."""
    bias_full_scale: Literal["fixed", "layer"] = "fixed"
    """Full scale of the bias DACs: fixed, v_bias_V; layer, the largest bias of each layer, at most v_bias_V."""
    limit_bias_dac: bool = True
    """Restriction: biases are rounded to the steps of the bias DAC and saturate at +-v_bias_V."""
    input_dac_bits: ConverterBits | None = 8
    """Resolution of the DACs that drive the first layer, bits over +-v_read_V."""
    limit_input_dac: bool = True
    """Restriction: the network's inputs are rounded to the steps of the input DAC."""
    adc_bits: ConverterBits | None = 8
    """Resolution of the ADC in front of a digital part, bits over +-v_swing_V."""
    limit_adc: bool = True
    """Restriction: voltages that leave for a digital part are rounded to the steps of the ADC."""
    partial_sums: Literal["currents", "adc"] = "currents"
    """Layers of several tiles in a column: currents, these share amplifiers; adc, each has its own, and ADCs."""
    tile_adc_bits: ConverterBits | None = 8
    """Resolution of the ADCs of partial sums, bits."""
    v_tile_adc_V: Positive = 1.0
    """Full scale of the ADCs of partial sums, of either sign, V; learned, n tiles start from it over sqrt(n)."""
    learn_tile_adc: bool = True
    """Whether training finds the full scale of each tile's ADCs (a reference voltage that is set once)."""
    limit_tile_adc: bool = True
    """Restriction: partial sums are rounded to the steps of their ADCs, and saturate; has no effect on currents."""

    @model_validator(mode="after")
    def _check(self) -> Periphery:
        for converter in ("bias_dac", "input_dac", "adc"):
            if getattr(self, f"limit_{converter}") and getattr(self, f"{converter}_bits") is None:
                raise SpecError(
                    f"periphery: limit_{converter} is on, but {converter}_bits is not given; "
                    f"give it, or set limit_{converter} to false"
                )
        if self.partial_sums == "adc" and self.limit_tile_adc and self.tile_adc_bits is None:
            raise SpecError(
                "periphery: partial_sums is adc and limit_tile_adc is on, but tile_adc_bits is not given; give it, or "
                "set limit_tile_adc to false"
            )
        highest = self.v_swing_V if self.limit_swing else None
        if highest is not None and self.limit_floor and self.v_floor_V >= highest:
            raise SpecError(
                f"periphery: expected v_floor_V below v_swing_V = {highest:g} V, got {self.v_floor_V:g} V: an "
                "amplifier whose lowest output is its highest one yields nothing"
            )
        if self.r_f_tolerance_rel > MOST_TOLERANCE:
            raise SpecError(
                f"periphery.r_f_tolerance_rel: expected at most {MOST_TOLERANCE:g}, got {self.r_f_tolerance_rel:g}: a "
                "resistor would come out negative; 1 % is 0.01"
            )
        return self


SECTIONS: dict[str, type[Part]] = {
    "device": Device,
    "pulses": Pulses,
    **PULSE_MODELS,
    "retention": Retention,
    "faults": Faults,
    "array": Array,
    "periphery": Periphery,
    "programming": Programming,
    "costs": Costs,
}
