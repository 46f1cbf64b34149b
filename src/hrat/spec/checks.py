"""Questions about a spec that need more than one of its sections."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hrat.errors import SpecError
from hrat.names import check_name, check_text, one_line
from hrat.spec.base import did_you_mean
from hrat.spec.programming import TABLE_PROBABILITIES, Programming
from hrat.spec.pulses import PULSE_MODELS
from hrat.spec.sections import SECTIONS, Device, Periphery

if TYPE_CHECKING:
    from hrat.spec.hardware import HardwareSpec

__all__ = ["check_pulses", "check_sigma", "check_sources", "check_words", "odd_settings"]

# Fine enough to find the dips of the low-order polynomials that are fitted to measured spreads.
SAMPLES = 1001
PLAUSIBLE = {
    "J_per_code": (1e-21, 1e-6),
    "m2_per_code": (1e-20, 1e-2),
    "V_rtHz": (1e-10, 1e-5),
    "K_W": (1.0, 1e9),
    "m_s": (1e-15, 1e6),
    "eV": (1e-3, 10.0),
    "ohm": (1e-6, 1e13),
    "Hz": (1.0, 1e13),
    "m2": (1e-20, 1e-2),
    "rel": (1e-9, 10.0),
    "V": (1e-6, 1e2),
    "S": (1e-15, 1.0),
    "A": (1e-18, 10.0),
    "W": (1e-12, 1e3),
    "K": (1.0, 2e3),
    "m": (1e-12, 1e-3),
    "s": (1e-15, 1e12),
}
"""Plausible values, zero apart, of fields by the unit in their name, longest unit first.

Wide enough for any that was ever published: from single electrons to power switches, from femtoseconds to the age of
rocks; what lies outside is a slip of the unit or the exponent.
"""
PLAUSIBLE_WITHOUT_UNIT = (1e-12, 1e9)
OUT_OF_REACH = 0.1
"""Part of the window by which a table may miss its highest target without a warning."""


def check_words(spec: HardwareSpec) -> None:
    """Refuse invalid names and unprintable text: both are written to netlists, tables and pictures.

    Raises:
        SpecError: with the field, and the character that is not printable.
    """
    check_name(spec.name, "name", error=SpecError)
    check_text(spec.description, "description", error=SpecError)
    for key, source in spec.sources.items():
        check_text(source, f"sources.{one_line(key)}", error=SpecError)


def check_reference(device: Device, periphery: Periphery) -> None:
    """Refuse a reference column in the middle of a device's states where no state lies there.

    Raises:
        SpecError: the device has two states.
    """
    if periphery.readout == "reference_column" and device.n_states is not None and device.n_states < 3:
        raise SpecError(
            f"periphery.readout is reference_column, whose devices are in a state in the middle, but the device has "
            f"{device.n_states} states; expected three or more, or the read-out dual_rail or two_stage"
        )


def check_sigma(device: Device, programming: Programming) -> None:
    """Refuse a spread that is negative somewhere in the window.

    Raises:
        SpecError: with the conductance at which it is lowest.
    """
    if programming.sigma_poly_S is None:
        return
    spreads = [(_sigma_S(g_S, device, programming), g_S) for g_S in _window(device)]
    bad = [pair for pair in spreads if not 0 <= pair[0] < math.inf]  # written so that "not a number" is bad too
    if bad:
        lowest, g_S = min(bad)
        raise SpecError(
            f"programming.sigma_poly_S: expected sigma(G) >= 0 within [g_min_S, g_max_S] = [{device.g_min_S:g}, "
            f"{device.g_max_S:g}] S, got {lowest:g} S at G = {g_S:g} S; check the units of the coefficients (S) and "
            f"of sigma_poly_ref_S ({programming.sigma_poly_ref_S:g} S)"
        )


def check_pulses(spec: HardwareSpec) -> None:
    """Refuse pulses that the chosen model cannot have, and a table that leaves out states.

    Raises:
        SpecError: with the section and the field that do not fit.
    """
    device, programming, model = spec.device, spec.programming, spec.pulses.model
    if programming.table_targets_S is not None:
        low, high = programming.table_targets_S[0], programming.table_targets_S[-1]
        slack_S = 1e-6 * device.g_range_S
        if low > device.states_S[0] + slack_S or high < device.states_S[-1] - slack_S:
            raise SpecError(
                f"programming.table_targets_S: expected rows from the lowest to the highest state, "
                f"{device.states_S[0]:g} to {device.states_S[-1]:g} S, got {low:g} to {high:g} S; make the table again "
                "with hrat.characterise"
            )
    if model == "jump_table" and not spec.jump_table.g_S:
        raise SpecError(
            "pulses.model is jump_table, but the section [jump_table] is empty; give g_S, set_S and reset_S"
        )
    if model == "vteam":
        low, high = 1 / spec.vteam.r_off_ohm, 1 / spec.vteam.r_on_ohm
        if not (low * (1 - 1e-9) <= device.g_min_S and device.g_max_S <= high * (1 + 1e-9)):
            raise SpecError(
                f"pulses.model is vteam, whose conductance runs from 1 / r_off_ohm to 1 / r_on_ohm = {low:g} to "
                f"{high:g} S; expected the window within it, got {device.g_min_S:g} to {device.g_max_S:g} S"
            )
    steps = [name for name in ("set_step_V", "reset_step_V") if getattr(programming, name) > 0]
    amplitude = PULSE_MODELS[model].amplitude
    if steps and (amplitude == "none" or (amplitude == "efold" and spec.pulses.efold_V is None)):
        remedy = "choose another model" if amplitude == "none" else "give pulses.efold_V"
        raise SpecError(
            f"programming.{steps[0]}: the pulse model {model} has no dependence on the amplitude, so that "
            f"incremental pulses would have no effect; {remedy}, or set {steps[0]} to 0"
        )


def check_sources(sources: Iterable[str]) -> None:
    """Refuse a source that belongs to no field.

    Raises:
        SpecError: with the nearest field.
    """
    known = [f"{section}.{field}" for section, part in SECTIONS.items() for field in part.model_fields]
    for key in sources:
        if key not in known:
            hint = did_you_mean(key, known) or "; expected section.field, such as 'device.g_max_S'"
            raise SpecError(f"sources: there is no field {key!r}{hint}")


def odd_settings(spec: HardwareSpec) -> list[str]:
    """Settings that are legal but probably not meant, one sentence each."""
    device, programming, periphery = spec.device, spec.programming, spec.periphery
    warnings = _implausible(spec)
    if programming.limit_error:
        warnings += _spread_against_spacing(device, programming) + _spread_against_zero(device, programming)
    if device.limit_read_voltage and periphery.limit_swing and device.v_read_V > periphery.v_swing_V:
        warnings.append(
            f"v_read_V = {device.v_read_V:g} V is above v_swing_V = {periphery.v_swing_V:g} V: amplifiers cannot "
            "reach the read threshold, which limits nothing behind the first layer"
        )
    if periphery.limit_bias_dac and periphery.limit_swing and periphery.v_bias_V > periphery.v_swing_V:
        warnings.append(
            f"v_bias_V = {periphery.v_bias_V:g} V is above v_swing_V = {periphery.v_swing_V:g} V: the outer steps of "
            "the bias DAC drive an amplifier beyond its swing"
        )
    if periphery.readout == "reference_column" and device.pairs == "centred":
        warnings.append(
            "device.pairs is centred, which has no effect with the read-out reference_column: its weights are no pairs"
        )
    return warnings + _odd_tile_adcs(periphery) + _odd_pulses(spec)


def _implausible(spec: HardwareSpec) -> list[str]:
    """Values that no hardware has: most often a unit or an exponent has slipped."""
    warnings = []
    for section, part in SECTIONS.items():
        for field in part.model_fields:
            unit = next((unit for unit in PLAUSIBLE if field.endswith(f"_{unit}")), None)
            low, high = PLAUSIBLE_WITHOUT_UNIT if unit is None else PLAUSIBLE[unit]
            odd = [v for v in _numbers(getattr(getattr(spec, section), field)) if v and not low <= abs(v) <= high]
            if odd:
                word = (
                    ""
                    if unit in ("rel", None)
                    else f" {unit.replace('_per_', '/').replace('m_s', 'm/s').replace('_', '/')}"
                )
                warnings.append(
                    f"{section}.{field} = {odd[0]:g}{word} is what no hardware has, which lies within {low:g} and "
                    f"{high:g}{word}; check the unit and the exponent"
                )
    return warnings


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, tuple):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, float):  # whole numbers are counts
        yield value


def _odd_tile_adcs(periphery: Periphery) -> list[str]:
    if periphery.partial_sums == "currents":
        usual = Periphery()
        without_effect = [
            name
            for name in ("tile_adc_bits", "v_tile_adc_V", "learn_tile_adc")
            if getattr(periphery, name) != getattr(usual, name)
        ]
        if without_effect:
            return [
                f"{', '.join(without_effect)} has no effect while periphery.partial_sums is currents; did you mean adc?"
            ]
        return []
    if periphery.limit_swing and not periphery.learn_tile_adc and periphery.v_tile_adc_V > periphery.v_swing_V:
        return [
            f"v_tile_adc_V = {periphery.v_tile_adc_V:g} V is above v_swing_V = {periphery.v_swing_V:g} V: no amplifier "
            "reaches the outer codes of the ADCs of partial sums"
        ]
    return []


def _odd_pulses(spec: HardwareSpec) -> list[str]:
    warnings = []
    programming, pulses = spec.programming, spec.pulses
    statistical = programming.scheme == "statistical"
    if not statistical and programming.limit_error and programming.table_S is None:
        warnings.append(
            f"programming.scheme is {programming.scheme}, but training draws a Gaussian; hrat.characterise finds "
            "what pulses really reach, as a table for training"
        )
    if programming.table_S is not None and programming.table_targets_S is not None:
        median_S = programming.table_S[-1][TABLE_PROBABILITIES.index(0.5)]
        if programming.table_targets_S[-1] - median_S > OUT_OF_REACH * spec.device.g_range_S:
            warnings.append(
                f"by the table, half of the devices that are asked for {programming.table_targets_S[-1]:.3g} S end "
                f"below {median_S:.3g} S: a part of the window is out of reach, and counts as states all the same"
            )
    if statistical and spec.retention.limit_retention:
        warnings.append(
            "limit_retention is on, but the statistical scheme draws all of its error at once, with the relaxation "
            "until programming.error_age_s in it; retention acts with pulses, or by hrat.programming.age"
        )
    if statistical and spec.faults.limit_faults and spec.faults.window_spread_rel > 0:
        warnings.append(
            "faults.window_spread_rel has no effect with the statistical scheme, whose error is all that is drawn; "
            "narrow windows are met by pulses, and are in the table of hrat.characterise"
        )
    if programming.passes > 1 and not spec.retention.limit_retention:
        warnings.append(
            f"programming.passes is {programming.passes}, but limit_retention is off: nothing relaxes between the "
            "passes"
        )
    if pulses.model == "vteam" and spec.device.v_read_V > min(-spec.vteam.v_on_V, spec.vteam.v_off_V):
        warnings.append(
            f"v_read_V = {spec.device.v_read_V:g} V is above a threshold of vteam ({spec.vteam.v_on_V:g} V, "
            f"{spec.vteam.v_off_V:g} V): reading would change the state"
        )
    if min(pulses.set_V, pulses.reset_V) < spec.device.v_read_V:
        warnings.append(
            f"programming pulses of {min(pulses.set_V, pulses.reset_V):g} V are smaller than v_read_V = "
            f"{spec.device.v_read_V:g} V: a voltage that may be read with should not program"
        )
    return warnings


def _spread_against_spacing(device: Device, programming: Programming) -> list[str]:
    if not device.limit_states:
        return []
    # Between two neighbours, each with its own spread: the worse one counts.
    for lower, upper in pairwise(device.states_S):
        sigma_S = max(_sigma_S(lower, device, programming), _sigma_S(upper, device, programming))
        if sigma_S > upper - lower:
            return [
                f"the programming error (sigma {sigma_S:.3g} S near {lower:.3g} S) is larger than the spacing of the "
                f"states ({upper - lower:.3g} S): fewer states would do as well"
            ]
    return []


def _spread_against_zero(device: Device, programming: Programming) -> list[str]:
    states = device.states_S if device.limit_states else _window(device)
    margin, g_S = math.inf, device.g_min_S
    for state in states:
        sigma_S = _sigma_S(state, device, programming)
        if sigma_S > 0 and state / sigma_S < margin:
            margin, g_S = state / sigma_S, state
    if margin >= 3:
        return []
    share = 0.5 * math.erfc(margin / math.sqrt(2))
    return [
        f"a device programmed to {g_S:.3g} S is only {margin:.2g} sigma above zero: {share:.1%} of such devices would "
        "come out negative and are clipped at zero; raise g_min_S, or lower the programming error"
    ]


def _window(device: Device) -> list[float]:
    return [device.g_min_S + device.g_range_S * i / (SAMPLES - 1) for i in range(SAMPLES)]


def _sigma_S(g_S: float, device: Device, programming: Programming) -> float:
    """Standard deviation of the programming error at a target of `g_S`, S; of a table, that of its inner part."""
    if programming.sigma_rel is not None:
        return programming.sigma_rel * device.g_range_S
    if programming.table_S is not None and programming.table_targets_S is not None:
        rows = zip(programming.table_targets_S, programming.table_S, strict=True)
        _, row = min(rows, key=lambda pair: abs(pair[0] - g_S))
        low, high = (row[TABLE_PROBABILITIES.index(p)] for p in (0.2, 0.8))
        return (high - low) / (2 * 0.8416)  # the 20 % and 80 % quantiles of a Gaussian lie 0.8416 sigma out
    spread = 0.0
    for coefficient in reversed(programming.sigma_poly_S or ()):
        spread = spread * g_S / (programming.sigma_poly_ref_S or 1.0) + coefficient
    return spread
