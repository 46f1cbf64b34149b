"""Sections of a spec: their numbers, and what they refuse."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrat.errors import HratError, SpecError
from hrat.spec import Array, Device, HardwareSpec, Periphery, Programming
from hrat.spec.sections import SECTIONS

windows = st.tuples(st.floats(1e-9, 1e-3), st.floats(1.01, 1e3)).map(lambda pair: (pair[0], pair[0] * pair[1]))


@given(window=windows, bits=st.integers(1, 8))
def test_states_are_evenly_spaced_over_the_whole_window(window: tuple[float, float], bits: int) -> None:
    device = Device(g_min_S=window[0], g_max_S=window[1], weight_bits=bits)
    states = device.states_S
    assert device.n_states == len(states) == 2**bits
    assert (states[0], states[-1]) == window
    spacing = device.g_range_S / (2**bits - 1)
    assert all(upper - lower == pytest.approx(spacing, rel=1e-6) for lower, upper in pairwise(states))


def test_measured_levels_are_the_states_and_need_no_weight_bits_to_be_cleared() -> None:
    device = Device(g_min_S=1e-6, g_max_S=1e-4, levels_S=(2e-6, 3e-6, 9e-5))
    assert device.weight_bits is None
    assert device.states_S == (2e-6, 3e-6, 9e-5)
    assert device.n_states == 3


def test_without_states_the_conductance_is_continuous_over_the_window() -> None:
    for device in (Device(limit_states=False), Device(limit_states=False, levels_S=(6e-5, 7e-5))):
        assert device.n_states is None
        assert device.states_S == (device.g_min_S, device.g_max_S)


def test_plain_values_are_taken_from_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    device = Device(levels_S=numpy.array([6e-5, 9e-5]), v_read_V=numpy.float64(0.2))
    assert device.levels_S == (6e-5, 9e-5)
    assert Array(rows=numpy.int64(64)).rows == 64
    json.dumps(HardwareSpec(device=device).to_dict())


REFUSED: list[tuple[type, dict[str, Any], str]] = [
    (Device, {"g_min_S": -1e-6}, r"device\.g_min_S: expected greater than 0, got -1e-06"),
    (Device, {"g_min_S": 0.0}, r"device\.g_min_S: expected greater than 0"),
    (Device, {"g_max_S": float("inf")}, r"device\.g_max_S: expected a finite number"),
    (Device, {"v_read_V": float("nan")}, r"device\.v_read_V: expected a finite number"),
    (Device, {"g_min_S": 3e-4}, r"expected g_min_S < g_max_S, got g_min_S = 0\.0003"),
    (Device, {"g_min_S": "5e-5"}, r"device\.g_min_S: expected a valid number, got '5e-5'"),
    (Device, {"weight_bits": 9}, r"device\.weight_bits: expected less than or equal to 8, got 9"),
    (Device, {"weight_bits": 0}, r"greater than or equal to 1"),
    (Device, {"weight_bits": 4.0}, r"device\.weight_bits: expected a valid integer"),
    (Device, {"weight_bits": True}, r"device\.weight_bits: expected a valid integer, got True"),
    (Device, {"weight_bits": None}, r"limit_states is on, but neither weight_bits nor levels_S.*set limit_states"),
    (Device, {"weight_bits": 2, "levels_S": (6e-5, 7e-5)}, r"weight_bits or levels_S, got both"),
    (Device, {"levels_S": (6e-5,)}, r"at least 2 states, got 1"),
    (Device, {"levels_S": (7e-5, 6e-5)}, r"ascending states, got a step down at position 1"),
    (Device, {"levels_S": (6e-5, 7e-5, 7e-5)}, r"a duplicate at position 2"),
    (Device, {"levels_S": (60.0, 70.0)}, r"within \[g_min_S, g_max_S\].*got 60 S.*check the unit"),
    (Device, {"levels_S": (1e-5, 7e-5)}, r"got 1e-05 S"),
    (Device, {"levels_S": (6e-5, float("nan"))}, r"device\.levels_S\.1: expected a finite number"),
    (Device, {"weigth_bits": 3}, r"unknown key 'weigth_bits' in \[device\]; did you mean 'weight_bits'\?"),
    (Device, {"zzz": 3}, r"unknown key 'zzz' in \[device\]; known keys: name, g_min_S"),
    (Device, {"limit_states": "yes"}, r"device\.limit_states: expected a valid boolean"),
    (Programming, {"sigma_rel": -0.1}, r"programming\.sigma_rel: expected greater than or equal to 0"),
    (Programming, {"sigma_rel": 1.5}, r"less than or equal to 1"),
    (Programming, {"sigma_rel": None}, r"limit_error is on, but none of sigma_rel, sigma_poly_S and table_S is given"),
    (Programming, {"sigma_poly_S": (1e-6,)}, r"without sigma_poly_ref_S"),
    (Programming, {"sigma_poly_ref_S": 1e-6}, r"no effect without sigma_poly_S"),
    (Programming, {"sigma_poly_S": (), "sigma_poly_ref_S": 1e-6}, r"at least one coefficient"),
    (Programming, {"sigma_rel": 0.1, "sigma_poly_S": (1e-6,), "sigma_poly_ref_S": 1e-6}, r"got both"),
    (Array, {"rows": 0}, r"array\.rows: expected greater than or equal to 1, got 0"),
    (Periphery, {"v_swing_V": 0.0}, r"periphery\.v_swing_V"),
    (
        Periphery,
        {"readout": "dual"},
        r"periphery\.readout: expected 'dual_rail', 'two_stage' or 'reference_column', got 'dual'",
    ),
    (Periphery, {"bias_dac_bits": 1}, r"greater than or equal to 2"),
    (Periphery, {"adc_bits": 17}, r"less than or equal to 16"),
    (Periphery, {"bias_dac_bits": None}, r"limit_bias_dac is on, but bias_dac_bits is not given"),
    (Periphery, {"input_dac_bits": None}, r"limit_input_dac is on"),
    (Periphery, {"adc_bits": None}, r"limit_adc is on.*set limit_adc to false"),
]


@pytest.mark.parametrize(("section", "values", "message"), REFUSED)
def test_wrong_values_are_refused_where_they_are_written(section: type, values: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as direct:
        section(**values)
    assert "pydantic" not in str(direct.value)
    assert direct.value.__cause__ is None
    assert direct.value.__context__ is None
    # The same words where the section comes as part of a table, as it does from a file.
    with pytest.raises(SpecError, match=message):
        HardwareSpec.from_dict({section.__name__.lower(): values})


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        HardwareSpec.from_dict({"device": {"g_min_S": -1.0, "v_read_V": 0.0}, "array": {"rows": 0}})
    assert all(name in str(caught.value) for name in ("device.g_min_S", "device.v_read_V", "array.rows"))
    assert isinstance(caught.value, HratError)


def test_sections_cannot_be_changed() -> None:
    device: Any = Device()
    with pytest.raises(SpecError, match=r"Device\.weight_bits cannot be set.*spec\.replace\(weight_bits=3\)"):
        device.weight_bits = 3
    assert device.weight_bits == 4


@pytest.mark.parametrize("part", [*SECTIONS.values(), HardwareSpec])
def test_every_field_says_what_it_is(part: type[Device]) -> None:
    for name, field in part.model_fields.items():
        assert field.description, name
        assert "\n" not in field.description, name
        if name.endswith("_S"):
            assert "S" in field.description.replace(".", " ").replace(",", " ").replace(";", " ").split(), name
