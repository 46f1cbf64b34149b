"""The restrictions of a hardware: what each is, where it acts, and how it is switched off.

This list is the one place that names them. `HardwareSpec.restrictions`, `only` and `without`, the restriction budget,
warnings and the table in `docs/concepts.md` come from it. What a restriction computes stands in `hrat.physics` and
`hrat.encoding`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from hrat.spec.hardware import HardwareSpec

__all__ = ["RESTRICTIONS", "Easing", "Restriction"]

Place = Literal["target", "device", "word line", "bit line", "amplifier", "converter"]

MOST_STATE_BITS, MOST_CONVERTER_BITS = 8, 16


@dataclass(frozen=True)
class Easing:
    """A number of the spec, and which change of it eases a restriction."""

    field: str
    """Name of the field in the restriction's section."""
    change: Literal["bit more", "larger", "smaller"]
    most: int = MOST_CONVERTER_BITS
    """Largest useful number of bits."""


@dataclass(frozen=True, kw_only=True)
class Restriction:
    """One restriction or error of the hardware."""

    name: str
    """Short name, for `spec.only(...)` and `spec.without(...)`."""
    section: str
    """The section of the spec that its switch is in."""
    switch: str
    """The field that switches it on."""
    model: str
    """What it does in the model, in the words of the documentation."""
    fields: tuple[str, ...]
    """Fields that set its size: of the section, or `[section]` for all of one."""
    acts_on: Place
    """Where it acts: a target conductance, the device that was programmed, a line, an amplifier's output, or a number
    that passes a converter."""
    drawn: Literal["never", "chip", "read"] = "never"
    """Whether it is random: `chip`, drawn once for each chip; `read`, at each reading."""
    sizes: tuple[str, ...] = ()
    """Fields of which one at least must be given, and not zero, for it to act on anything; none: it always does."""
    needs: tuple[str, str, str] | None = None
    """`(section, field, value)` that the spec must have for the restriction to act on anything."""
    eased_by: tuple[Easing, ...] = ()
    """Numbers whose change makes it milder."""

    @property
    def path(self) -> str:
        """`section.switch`."""
        return f"{self.section}.{self.switch}"

    def is_on(self, spec: HardwareSpec) -> bool:
        """Whether it is switched on and has something to act on."""
        return bool(getattr(getattr(spec, self.section), self.switch)) and self.applies(spec)

    def applies(self, spec: HardwareSpec) -> bool:
        """Whether the hardware has what it acts on, switched on or not."""
        own = getattr(spec, self.section)
        if self.sizes and not any(getattr(own, field) for field in self.sizes):
            return False
        if self.needs is None:
            return True
        section, field, value = self.needs
        return bool(getattr(getattr(spec, section), field) == value)


_ALL = (
    Restriction(
        name="states",
        section="device",
        switch="limit_states",
        model="target conductances are rounded to the device's states",
        fields=("weight_bits", "levels_S"),
        acts_on="target",
        eased_by=(Easing("weight_bits", "bit more", MOST_STATE_BITS),),
    ),
    Restriction(
        name="read_voltage",
        section="device",
        switch="limit_read_voltage",
        model="word-line voltages are clamped to `+-v_read_V`, so that reading does not write",
        fields=("v_read_V",),
        acts_on="word line",
        eased_by=(Easing("v_read_V", "larger"),),
    ),
    Restriction(
        name="curvature",
        section="device",
        switch="limit_curvature",
        model="devices conduct more than in proportion to the voltage: `i = G u_0 sinh(u / u_0)`",
        fields=("curvature_V",),
        acts_on="word line",
        sizes=("curvature_V",),
        eased_by=(Easing("curvature_V", "larger"),),
    ),
    Restriction(
        name="error",
        section="programming",
        switch="limit_error",
        model="conductances miss their targets, by a Gaussian cut off at zero or by the table of what pulses reach",
        fields=("sigma_rel", "sigma_poly_S", "sigma_poly_ref_S", "table_targets_S", "table_S"),
        acts_on="device",
        drawn="chip",
        eased_by=(Easing("sigma_rel", "smaller"),),
    ),
    Restriction(
        name="swing",
        section="periphery",
        switch="limit_swing",
        model="amplifier outputs are clamped to `+-v_swing_V`, or to `[-v_swing_low_V, v_swing_V]`",
        fields=("v_swing_V", "v_swing_low_V"),
        acts_on="amplifier",
        eased_by=(Easing("v_swing_V", "larger"),),
    ),
    Restriction(
        name="floor",
        section="periphery",
        switch="limit_floor",
        model="a ReLU is an amplifier with a single supply, which yields no less than `v_floor_V`",
        fields=("v_floor_V",),
        acts_on="amplifier",
        sizes=("v_floor_V",),
        eased_by=(Easing("v_floor_V", "smaller"),),
    ),
    Restriction(
        name="offset",
        section="periphery",
        switch="limit_offset",
        model="each amplifier has an input offset, which appears at its output times the noise gain of its column",
        fields=("amplifier_offset_V",),
        acts_on="amplifier",
        drawn="chip",
        sizes=("amplifier_offset_V",),
        eased_by=(Easing("amplifier_offset_V", "smaller"),),
    ),
    Restriction(
        name="noise",
        section="periphery",
        switch="limit_noise",
        model="each reading has the amplifiers' noise, times the noise gain of their columns",
        fields=("amplifier_noise_V", "amplifier_noise_V_rtHz", "amplifier_bandwidth_Hz"),
        acts_on="amplifier",
        drawn="read",
        sizes=("amplifier_noise_V", "amplifier_noise_V_rtHz"),
        eased_by=(Easing("amplifier_noise_V", "smaller"), Easing("amplifier_noise_V_rtHz", "smaller")),
    ),
    Restriction(
        name="gain",
        section="periphery",
        switch="limit_gain",
        model="amplifiers have a finite open-loop gain, so that columns of much conductance lose a part of theirs",
        fields=("amplifier_gain",),
        acts_on="amplifier",
        sizes=("amplifier_gain",),
        eased_by=(Easing("amplifier_gain", "larger"),),
    ),
    Restriction(
        name="mismatch",
        section="periphery",
        switch="limit_mismatch",
        model="feedback resistors differ by their tolerance, and with them the gains of columns",
        fields=("r_f_tolerance_rel",),
        acts_on="amplifier",
        drawn="chip",
        sizes=("r_f_tolerance_rel",),
        eased_by=(Easing("r_f_tolerance_rel", "smaller"),),
    ),
    Restriction(
        name="read_noise",
        section="device",
        switch="limit_read_noise",
        model="conductances differ from reading to reading by a share of themselves, each device for itself",
        fields=("read_noise_rel",),
        acts_on="bit line",
        drawn="read",
        sizes=("read_noise_rel",),
        eased_by=(Easing("read_noise_rel", "smaller"),),
    ),
    Restriction(
        name="bias_dac",
        section="periphery",
        switch="limit_bias_dac",
        model="biases are rounded to the steps of a DAC and saturate",
        fields=("bias_dac_bits", "v_bias_V", "bias_full_scale"),
        acts_on="converter",
        eased_by=(Easing("v_bias_V", "larger"), Easing("v_bias_V", "smaller"), Easing("bias_dac_bits", "bit more")),
    ),
    Restriction(
        name="input_dac",
        section="periphery",
        switch="limit_input_dac",
        model="what enters from the digital side is rounded to the steps of a DAC over `+-v_read_V`",
        fields=("input_dac_bits",),
        acts_on="converter",
        eased_by=(Easing("input_dac_bits", "bit more"),),
    ),
    Restriction(
        name="adc",
        section="periphery",
        switch="limit_adc",
        model="what leaves for a digital operation is rounded to the steps of an ADC over `+-v_swing_V`",
        fields=("adc_bits",),
        acts_on="converter",
        eased_by=(Easing("adc_bits", "bit more"),),
    ),
    Restriction(
        name="tile_adc",
        section="periphery",
        switch="limit_tile_adc",
        model='with `partial_sums = "adc"`: partial sums of tiles are rounded to the steps of their ADCs and saturate',
        fields=("tile_adc_bits", "v_tile_adc_V", "learn_tile_adc"),
        acts_on="converter",
        eased_by=(Easing("tile_adc_bits", "bit more"),),
        needs=("periphery", "partial_sums", "adc"),
    ),
    Restriction(
        name="wires",
        section="array",
        switch="limit_wires",
        model="voltage is lost along word and bit lines (IR drop); off unless a spec says so",
        fields=("r_word_ohm", "r_bit_ohm", "r_driver_ohm", "r_sense_ohm", "drive"),
        acts_on="bit line",
        eased_by=(Easing("r_word_ohm", "smaller"), Easing("r_bit_ohm", "smaller")),
    ),
    Restriction(
        name="faults",
        section="faults",
        switch="limit_faults",
        model="some devices are stuck, or reach a part of the window only; off unless a spec says so",
        fields=("[faults]",),
        acts_on="device",
        drawn="chip",
        eased_by=(Easing("stuck_on", "smaller"), Easing("stuck_off", "smaller")),
    ),
    Restriction(
        name="retention",
        section="retention",
        switch="limit_retention",
        model="pulse-programmed conductances relax and drift until they are used; off unless a spec says so",
        fields=("[retention]",),
        acts_on="device",
        drawn="chip",
    ),
)

RESTRICTIONS: dict[str, Restriction] = {restriction.name: restriction for restriction in _ALL}
