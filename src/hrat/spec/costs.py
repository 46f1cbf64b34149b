"""The section of a spec that says what the circuit costs: time, power and area of its parts.

Nothing here acts on what a network computes; `hrat.simulation.estimate` reads it.
"""

from __future__ import annotations

from hrat.spec.base import NotNegative, Part, Positive

__all__ = ["COST_SOURCES", "Costs"]


class Costs(Part):
    """Time, power and area of the circuit's parts; acts on estimates only."""

    mvm_s: Positive | None = None
    """Time of one matrix-vector product, s; where it is left out, the time that amplifiers take to settle."""
    amplifier_gbw_Hz: Positive = 205e6
    """Gain-bandwidth product of an amplifier, Hz."""
    amplifier_W: NotNegative = 5e-3
    """Power of an amplifier at rest, W."""
    supply_V: Positive = 2.5
    """Supply that the current of the arrays is drawn from, of either sign, V."""
    adc_J_per_code: NotNegative = 10.1e-15
    """Energy of one conversion of an ADC, for each of its 2**bits codes, J."""
    dac_J_per_code: NotNegative = 10.1e-15
    """Energy of one conversion of a DAC, for each of its 2**bits codes, J."""
    device_m2: NotNegative = 1.53e-15
    """Area of one device with its share of the wires, m^2."""
    amplifier_m2: NotNegative = 4e-6
    """Area of one amplifier, m^2."""
    adc_m2_per_code: NotNegative = 5.9e-12
    """Area of an ADC, for each of its 2**bits codes, m^2."""
    dac_m2_per_code: NotNegative = 5.9e-12
    """Area of a DAC, for each of its 2**bits codes, m^2."""


COST_SOURCES: dict[str, str] = {
    "mvm_s": "the settling of a single-pole amplifier to half a step of the ADC (S. Franco, Design with Operational "
    "Amplifiers and Analog Integrated Circuits, ch. 6)",
    "amplifier_gbw_Hz": "TI OPA836, data sheet SLOS712: 205 MHz at a gain of one",
    "amplifier_W": "TI OPA836, data sheet SLOS712: 1 mA at 5 V",
    "supply_V": "+-2.5 V, half of the 5 V that the OPA836 is specified at",
    "adc_J_per_code": "Kull et al., JSSC 2013: 3.1 mW at 1.2 GS/s and 8 bits, shared out over 256 codes",
    "dac_J_per_code": "taken as that of the ADC, a SAR converter that contains a DAC of as many bits",
    "device_m2": "ISAAC (Shafiee et al., ISCA 2016): 0.0002 mm^2 for 8 arrays of 128x128, 32 nm, no transistors",
    "amplifier_m2": "TI OPA836 in its 2 mm x 2 mm package; one on a chip takes a hundredth to a thousandth of it",
    "adc_m2_per_code": "Kull et al., JSSC 2013: 0.0015 mm^2 in 32 nm at 8 bits, shared out over 256 codes",
    "dac_m2_per_code": "taken as that of the ADC",
}
"""Sources of the defaults."""
