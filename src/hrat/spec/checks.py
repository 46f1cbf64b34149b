"""Questions about a spec that need more than one of its sections."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

from hrat.errors import SpecError
from hrat.spec.base import did_you_mean
from hrat.spec.sections import SECTIONS, Device, Periphery, Programming

__all__ = ["check_sigma", "check_sources", "odd_settings"]

# Fine enough to find the dips of the low-order polynomials that are fitted to measured spreads.
SAMPLES = 1001


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


def odd_settings(device: Device, programming: Programming, periphery: Periphery) -> list[str]:
    """What is legal but probably not meant, one sentence each."""
    found = []
    if programming.limit_error:
        found += _spread_against_spacing(device, programming) + _spread_against_zero(device, programming)
    if device.limit_read_voltage and periphery.limit_swing and device.v_read_V > periphery.v_swing_V:
        found.append(
            f"v_read_V = {device.v_read_V:g} V is above v_swing_V = {periphery.v_swing_V:g} V: amplifiers cannot "
            "reach the read threshold, which limits nothing behind the first layer"
        )
    if periphery.limit_bias_dac and periphery.limit_swing and periphery.v_bias_V > periphery.v_swing_V:
        found.append(
            f"v_bias_V = {periphery.v_bias_V:g} V is above v_swing_V = {periphery.v_swing_V:g} V: the outer steps of "
            "the bias DAC drive an amplifier beyond its swing"
        )
    return found


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
    """Standard deviation of the programming error at a target of `g_S`, S."""
    if programming.sigma_rel is not None:
        return programming.sigma_rel * device.g_range_S
    spread = 0.0
    for coefficient in reversed(programming.sigma_poly_S or ()):
        spread = spread * g_S / (programming.sigma_poly_ref_S or 1.0) + coefficient
    return spread
