"""The spec as a whole: checks across sections, switches, changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn

import hrat
from hrat.errors import SpecError
from hrat.spec import (
    PULSE_MODELS,
    RESTRICTIONS,
    Device,
    HardwareSpec,
    Periphery,
    Programming,
    Pulses,
    load_spec,
    preset_names,
)
from hrat.spec.sections import SECTIONS


def test_a_spread_that_is_negative_within_the_window_is_refused() -> None:
    poly = Programming(sigma_poly_S=(1e-6, -2e-6), sigma_poly_ref_S=200e-6)
    with pytest.raises(SpecError, match=r"sigma\(G\) >= 0.*got -1e-06 S at G = 0\.0002 S.*units"):
        HardwareSpec(programming=poly)
    # The same line is no fault in a window where it stays positive.
    HardwareSpec(device=Device(g_min_S=10e-6, g_max_S=90e-6), programming=poly)


def test_a_dip_between_the_ends_is_found_and_an_overflow_is_refused() -> None:
    # (x - 0.6)^2 - 0.01 is positive at both ends and negative around x = 0.6.
    with pytest.raises(SpecError, match="got -"):
        HardwareSpec(programming=Programming(sigma_poly_S=(0.35e-6, -1.2e-6, 1e-6), sigma_poly_ref_S=200e-6))
    with pytest.raises(SpecError, match="sigma_poly_S"):
        HardwareSpec(programming=Programming(sigma_poly_S=(1e300, -1e300, 1e300), sigma_poly_ref_S=1e-300))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"sources": {"device.g_mn_S": "paper"}}, r"no field 'device\.g_mn_S'; did you mean 'device\.g_min_S'"),
        ({"sources": {"paper": "x"}}, r"no field 'paper'; expected section\.field"),
        ({"sources": {"device.g_min_S": 3}}, r"sources\.device\.g_min_S: expected a valid string"),
        ({"device": 3}, r"device: expected a table of settings, got 3"),
        ({"sources": "paper"}, r"sources: expected a table"),
        ({"devise": {}}, r"unknown key 'devise' in the spec; did you mean 'device'"),
        ({"weight_bits": 3}, r"unknown key 'weight_bits'.*belongs to the section 'device'"),
        ({"self": 3}, r"unknown key 'self'"),
        ([1], r"expected a table of sections"),
    ],
)
def test_wrong_tables_are_refused(table: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        HardwareSpec.from_dict(table)


def test_switches_can_be_set_one_by_one_together_and_all_at_once() -> None:
    off = {name for name, on in HardwareSpec().restrictions().items() if not on}
    without_size = {name for name, one in RESTRICTIONS.items() if one.sizes}  # act once they have a figure
    assert off == {"wires", "faults", "retention", "tile_adc", *without_size}  # off unless asked for
    figures = {"stuck_on": 0.01, "drift_nu_mean": (0.03, 0.0), "drift_ref_S": 1e-4, **VOLTS}
    switches = {"limit_wires": True, "limit_faults": True, "limit_retention": True, "partial_sums": "adc"}
    spec = HardwareSpec().replace(**switches, **figures)
    assert list(spec.restrictions()) == list(RESTRICTIONS)
    assert all(spec.restrictions().values())
    without = spec.without("swing", "error")
    assert {name for name, on in without.restrictions().items() if not on} == {"swing", "error"}
    assert not without.periphery.limit_swing
    assert not without.programming.limit_error
    assert {name for name, on in spec.only("states").restrictions().items() if on} == {"states"}
    assert not any(spec.ideal().restrictions().values())
    assert all(spec.restrictions().values())  # the spec itself is as it was
    assert spec.without() == spec


def test_only_switches_nothing_on() -> None:
    assert not any(load_spec("ideal").only("states", "error").restrictions().values())


@pytest.mark.parametrize("method", ["without", "only"])
def test_unknown_restrictions_are_refused(method: str) -> None:
    with pytest.raises(SpecError, match=r"no restriction 'swings'; did you mean 'swing'\?; known ones: states"):
        getattr(HardwareSpec(), method)("states", "swings")


def test_fields_are_replaced_by_bare_and_dotted_name() -> None:
    spec = HardwareSpec()
    assert spec.replace(weight_bits=3, v_swing_V=2.0) == spec.replace({"device.weight_bits": 3, "v_swing_V": 2.0})
    assert spec.replace(name="mine").name == "mine"
    assert spec.replace(name="mine").device.name == spec.device.name
    assert spec.replace({"device.name": "TaOx"}).device.name == "TaOx"
    device = Device(g_min_S=1e-6, weight_bits=2)
    assert spec.replace(device=device).device == device
    assert spec.replace({"sources.device.g_min_S": "lab"}).sources == {"device.g_min_S": "lab"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"weigth_bits": 3}, r"no field 'weigth_bits'; did you mean 'weight_bits'"),
        ({"device.weigth_bits": 3}, r"unknown key 'weigth_bits' in \[device\]; did you mean 'weight_bits'"),
        ({"devise.weight_bits": 3}, r"no field 'devise\.weight_bits'; did you mean 'device\.weight_bits'"),
        ({"device.weight_bits": 3, "weight_bits": 4}, r"given twice"),
        ({"qqq": 3}, r"no field 'qqq'; expected section\.field"),
        ({"weight_bits": None}, r"neither weight_bits nor levels_S"),
        ({"device": 3, "device.weight_bits": 4}, r"give one of them"),
        ({3: 3}, r"expected the name of a field, got 3"),
        ({"g_min_S": 1.0}, r"g_min_S < g_max_S"),
    ],
)
def test_wrong_overrides_are_refused(overrides: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        HardwareSpec().replace(overrides)


def test_the_given_one_of_two_forms_replaces_the_other() -> None:
    levels = load_spec("yao2020", levels_S=[2e-6, 5e-6, 20e-6])
    assert levels.device.weight_bits is None
    assert levels.device.n_states == 3
    assert levels.replace(weight_bits=2).device.levels_S is None
    flat = load_spec("milo2021", sigma_rel=0.02)
    assert flat.programming.sigma_poly_S is None
    assert flat.programming.sigma_poly_ref_S is None
    bent = load_spec("yao2020", sigma_poly_S=[1e-7], sigma_poly_ref_S=20e-6)
    assert bent.programming.sigma_rel is None


def test_new_coefficients_are_not_read_against_an_old_reference() -> None:
    with pytest.raises(SpecError, match="without sigma_poly_ref_S"):
        load_spec("milo2021", sigma_poly_S=[1e-6])


def test_a_source_does_not_outlive_its_number() -> None:
    preset = load_spec("yao2020")
    changed = preset.replace(weight_bits=4, v_read_V=preset.device.v_read_V)
    assert changed.sources["device.weight_bits"] == "overridden"
    assert changed.sources["device.v_read_V"] == preset.sources["device.v_read_V"]
    assert "device.weight_bits" not in preset.replace(levels_S=[2e-6, 20e-6]).sources
    own = preset.replace(weight_bits=4, sources={"device.weight_bits": "our lab"})
    assert own.sources["device.weight_bits"] == "our lab"
    assert own.sources["device.g_min_S"] == preset.sources["device.g_min_S"]


def test_odd_settings_are_told_in_words() -> None:
    assert HardwareSpec().warnings() == []
    [spacing] = HardwareSpec().replace(weight_bits=6).warnings()
    assert "fewer states" in spacing
    [clipped] = HardwareSpec().replace(sigma_rel=0.15, weight_bits=2).warnings()
    # g_min 50 uS at a sigma of 22.5 uS: 2.2 sigma, of which a Gaussian leaves 1.3 % beyond.
    assert "2.2 sigma" in clipped
    assert "1.3%" in clipped
    [read] = HardwareSpec(device=Device(v_read_V=1.5)).warnings()
    assert "v_read_V = 1.5 V is above v_swing_V = 1 V" in read
    [bias] = HardwareSpec(periphery=Periphery(v_bias_V=2.0)).warnings()
    assert "v_bias_V" in bias


def test_what_is_switched_off_is_not_odd() -> None:
    odd = HardwareSpec().replace(weight_bits=8, sigma_rel=0.5, v_read_V=3.0, v_bias_V=3.0, set_V=4.0, reset_V=4.0)
    assert len(odd.warnings()) == 4
    assert odd.ideal().warnings() == []
    assert len(odd.without("swing").warnings()) == 2
    assert len(odd.without("states").warnings()) == 3


def test_specs_can_be_compared_hashed_and_put_into_json() -> None:
    spec = load_spec("wan2022")
    assert {spec: 1}[load_spec("wan2022")] == 1
    assert spec != spec.replace(weight_bits=3)
    assert HardwareSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_figures_without_effect_are_odd() -> None:
    narrow = load_spec("generic-4bit", window_spread_rel=0.1, limit_faults=True)
    assert any("window_spread_rel has no effect" in warning for warning in narrow.warnings())
    waits = load_spec("wan2022", scheme="write_verify", passes=3)
    assert any("nothing relaxes between the passes" in warning for warning in waits.warnings())
    assert not any("passes" in warning for warning in waits.replace(limit_retention=True).warnings())


HARMFUL = "x\n.control\nshell touch /tmp/here\n.endc"


@pytest.mark.parametrize("sign", ["\n", "\r", "\0", "\x1b", "\u2028", "\u202e", "\ud800"])
def test_a_name_or_text_that_does_not_show_is_refused(sign: str) -> None:
    text = f"a{sign}b"
    with pytest.raises(SpecError, match=r"name: expected a name of 1 to 200 printable characters on one line, got the"):
        HardwareSpec(name=text)
    with pytest.raises(SpecError, match=r"device\.name: expected a name"):
        Device(name=text)
    if sign in "\n\r":
        HardwareSpec(description=text, sources={"device.g_min_S": text})
        return
    with pytest.raises(SpecError, match="description: expected up to 10,000 printable characters"):
        HardwareSpec(description=text)
    with pytest.raises(SpecError, match=r"sources\.device\.g_min_S: expected up to"):
        HardwareSpec(sources={"device.g_min_S": text})


@pytest.mark.parametrize("name", ["", "  ", "n" * 201])
def test_a_name_has_some_characters_and_not_too_many(name: str) -> None:
    with pytest.raises(SpecError, match="name: expected a name of 1 to 200"):
        HardwareSpec().replace(name=name)


def test_a_name_with_a_line_break_in_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(f'name = """{HARMFUL}"""\n', encoding="utf-8")
    with pytest.raises(SpecError, match="name: expected a name"):
        load_spec(path)
    with pytest.raises(SpecError) as refusal:
        HardwareSpec.from_dict({"\x1b[2Jname": 1, "device": {"g_min_S": "\x1b[2J"}})
    assert "\x1b" not in str(refusal.value)


def test_a_file_with_an_odd_name_lends_it_as_far_as_it_shows(tmp_path: Path) -> None:
    path = tmp_path / "a\nb.toml"
    path.write_text("[device]\nweight_bits = 3\n", encoding="utf-8")
    assert load_spec(path).name == "a\\x0ab"


@pytest.mark.parametrize("value", [1e250, 1e30, 1e-300])
def test_sizes_that_no_hardware_has_are_told(value: float) -> None:
    told = 0
    for section, part in SECTIONS.items():
        for field, info in part.model_fields.items():
            if type(info.default) is not float:
                continue
            try:
                spec = HardwareSpec().replace({f"{section}.{field}": value})
            except SpecError:
                continue
            told += 1
            assert any(f"{section}.{field} = {value:g}" in warning for warning in spec.warnings()), (section, field)
    assert told > 20


def test_no_preset_has_such_sizes_and_lists_are_looked_through() -> None:
    for name in preset_names():
        assert not [warning for warning in load_spec(name).warnings() if "no hardware" in warning]
    device = Device(g_min_S=1e-300, g_max_S=1e-4, levels_S=(1e-300, 1e-5, 1e-4))
    found = [warning for warning in HardwareSpec(device=device).warnings() if "no hardware has" in warning]
    assert [warning.split(" = ")[0] for warning in found] == ["device.g_min_S", "device.levels_S"]
    assert "which lies within 1e-15 and 1 S; check the unit and the exponent" in found[0]


def test_each_pulse_model_is_known_wherever_it_has_to_be_named() -> None:
    assert list(get_args(Pulses.model_fields["model"].annotation)) == list(PULSE_MODELS)
    for name, model in PULSE_MODELS.items():
        assert HardwareSpec.model_fields[name].annotation is model
        assert model.in_words
        assert getattr(hrat.spec, model.__name__) is model


def test_each_restriction_names_fields_that_there_are() -> None:
    spec = HardwareSpec()
    for restriction in RESTRICTIONS.values():
        section = getattr(spec, restriction.section)
        assert isinstance(getattr(section, restriction.switch), bool), restriction.path
        for field in restriction.fields:
            assert field == f"[{restriction.section}]" or hasattr(section, field), (restriction.name, field)


VOLTS = {
    "amplifier_offset_V": 1e-2,
    "amplifier_noise_V": 1e-2,
    "amplifier_gain": 1e3,
    "r_f_tolerance_rel": 0.05,
    "v_floor_V": 0.05,
    "read_noise_rel": 0.1,
    "curvature_V": 0.15,
}


@pytest.mark.parametrize("name", RESTRICTIONS)
def test_chips_differ_where_a_restriction_is_drawn_for_each(name: str) -> None:
    figures = {"stuck_on": 0.1, "drift_nu_mean": (0.03, 0.0), "drift_ref_S": 1e-4, **VOLTS}
    switches = {"limit_wires": True, "limit_faults": True, "limit_retention": True, "partial_sums": "adc"}
    spec = HardwareSpec().replace(**figures, **switches, **{"array.rows": 4})
    x = torch.randn(4, 6)
    model = hrat.prepare(nn.Linear(6, 3), spec.only(name), x)
    one, other = (hrat.program(hrat.deploy(model.eval()), seed=seed) for seed in (0, 1))
    (first,), (second,) = (chip.layers.values() for chip in (one, other))
    of_devices = (
        RESTRICTIONS[name].acts_on == "device" and name != "retention"
    )  # which comes on top of pulses that miss
    assert torch.equal(first.g_pos_S, second.g_pos_S) != of_devices
    drawn = RESTRICTIONS[name].drawn != "never" and name != "retention"
    assert torch.equal(hrat.simulate(one, x).value, hrat.simulate(other, x).value) != drawn
    twice = hrat.simulate(one, torch.cat([x, x])).value[0]
    assert torch.allclose(twice[:4], twice[4:], rtol=1e-5, atol=1e-6) != (RESTRICTIONS[name].drawn == "read")


def test_a_restriction_without_its_hardware_is_neither_on_nor_off() -> None:
    between_tiles = RESTRICTIONS["tile_adc"]
    assert not between_tiles.applies(HardwareSpec())
    assert between_tiles.applies(HardwareSpec().replace(partial_sums="adc"))
    assert between_tiles.is_on(HardwareSpec().replace(partial_sums="adc"))
