"""Presets, TOML files and assignments on a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrat.errors import SpecError
from hrat.spec import (
    RESTRICTIONS,
    Array,
    Device,
    HardwareSpec,
    Periphery,
    Programming,
    load_spec,
    parse_assignment,
    part_names,
    preset_names,
    spec_from_toml,
)
from hrat.spec.sections import SECTIONS

shown = st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp"))
names = st.text(shown, min_size=1, max_size=20).filter(str.strip) | st.just("none")
words = st.text(shown | st.sampled_from("\n\t"), max_size=20) | st.just("none")
positive = st.floats(1e-9, 1.0)
bits = st.none() | st.integers(2, 16)


@st.composite
def devices(draw: st.DrawFn) -> Device:
    values = sorted(draw(st.lists(positive, min_size=2, max_size=9, unique=True)))
    levels = draw(st.sampled_from([None, tuple(values)]))
    weight_bits = None if levels else draw(st.none() | st.integers(1, 8))
    return Device(
        name=draw(names),
        g_min_S=values[0],
        g_max_S=values[-1],
        weight_bits=weight_bits,
        levels_S=levels,
        limit_states=draw(st.booleans()) and (levels is not None or weight_bits is not None),
        v_read_V=draw(positive),
        limit_read_voltage=draw(st.booleans()),
    )


@st.composite
def programmings(draw: st.DrawFn) -> Programming:
    poly = draw(st.none() | st.lists(st.floats(0, 1e-3), min_size=1, max_size=4).map(tuple))
    if poly is not None:
        return Programming(sigma_poly_S=poly, sigma_poly_ref_S=draw(positive), limit_error=draw(st.booleans()))
    sigma_rel = draw(st.none() | st.floats(0, 1))
    return Programming(sigma_rel=sigma_rel, limit_error=draw(st.booleans()) and sigma_rel is not None)


@st.composite
def peripheries(draw: st.DrawFn) -> Periphery:
    bias, inputs, adc = draw(bits), draw(bits), draw(bits)
    return Periphery(
        v_swing_V=draw(positive),
        limit_swing=draw(st.booleans()),
        readout=draw(st.sampled_from(["dual_rail", "two_stage"])),
        bias_dac_bits=bias,
        v_bias_V=draw(positive),
        limit_bias_dac=draw(st.booleans()) and bias is not None,
        input_dac_bits=inputs,
        limit_input_dac=draw(st.booleans()) and inputs is not None,
        adc_bits=adc,
        limit_adc=draw(st.booleans()) and adc is not None,
    )


specs = st.builds(
    HardwareSpec,
    name=names,
    description=words,
    device=devices(),
    array=st.builds(Array, rows=st.integers(1, 4096), cols=st.integers(1, 4096)),
    periphery=peripheries(),
    programming=programmings(),
    sources=st.dictionaries(st.sampled_from(["device.g_min_S", "array.rows", "device.name"]), words),
)


@given(spec=specs)
def test_toml_and_plain_data_bring_back_the_same_spec(spec: HardwareSpec) -> None:
    assert spec_from_toml(spec.to_toml()) == spec
    assert HardwareSpec.from_dict(spec.to_dict()) == spec


def test_a_saved_spec_is_loaded_again(tmp_path: Path) -> None:
    spec = load_spec("milo2021").replace(name="lab", adc_bits=None, limit_adc=False)
    path = spec.save(tmp_path / "lab.toml")
    assert load_spec(path) == load_spec(str(path)) == spec
    assert 'adc_bits = "none"' in path.read_text(encoding="utf-8")
    assert "sigma_rel" not in path.read_text(encoding="utf-8")  # None, as sigma_poly_S is given


LATER_FIELDS = {field for one in RESTRICTIONS.values() if one.sizes or one.needs for field in one.fields}
"""Figures of what acts only where a spec asks for it; a preset need not say where their defaults come from."""


def test_presets_can_all_be_loaded_and_say_where_every_number_comes_from() -> None:
    names = preset_names()
    assert names == sorted(names)
    wanted = {"ideal", "yao2020", "wan2022", "milo2021", "li2018", "generic-4bit", "generic-3bit-harsh"}
    wanted |= {"ibm-pcm", "cmo-hfox", "jo2010"}
    assert set(names) == wanted
    for name in names:
        spec = load_spec(name)
        assert spec.name == name
        assert spec.description
        on = {key for key, on in spec.restrictions().items() if on}
        # Wires are ideal, devices whole and steady, and currents of tiles summed, unless asked for.
        volts = {key for key, one in RESTRICTIONS.items() if one.sizes}  # where a preset names them
        always = set(RESTRICTIONS) - {"wires", "faults", "retention", "tile_adc"} - volts
        assert on - volts == (set() if name == "ideal" else always)
        assert name != "ideal" or not on
        if name == "ideal":
            assert spec == spec.ideal(), "a switch of a restriction is missing in ideal.toml"
            continue
        for section, part in SECTIONS.items():
            for field, value in getattr(spec, section):
                # What pulses and time do: the defaults are those of generic-4bit, and have their sources there.
                newer = section not in ("device", "array", "periphery") or field in LATER_FIELDS
                default = newer and value == part.model_fields[field].default
                if default and not (name == "generic-4bit" and section in ("pulses", "soft_bounds")):
                    continue
                if isinstance(value, int | float | tuple) and not isinstance(value, bool):
                    source = spec.sources[f"{section}.{field}"]
                    assert source.startswith("chosen: ") or not name.startswith("generic"), (name, field)


def test_only_the_presets_with_a_window_near_zero_are_odd() -> None:
    assert [name for name in preset_names() if load_spec(name).warnings()] == ["ibm-pcm", "wan2022"]


def test_published_spreads_come_out_in_siemens() -> None:
    def sigma_S(name: str, g_S: float) -> float:
        programming = load_spec(name).programming
        assert programming.sigma_poly_S is not None
        assert programming.sigma_poly_ref_S is not None
        return sum(c * (g_S / programming.sigma_poly_ref_S) ** k for k, c in enumerate(programming.sigma_poly_S))

    # Milo et al.: sigma = -0.009107 G + 4.782 (uS).
    for g_uS in (50.0, 100.0, 225.0):
        assert sigma_S("milo2021", g_uS * 1e-6) == pytest.approx((4.782 - 0.009107 * g_uS) * 1e-6, rel=1e-9)
    # Wan et al.: the one-day spread peaks at 4.0 uS.
    assert max(sigma_S("wan2022", i * 1e-7) for i in range(10, 401)) == pytest.approx(4.0e-6, rel=0.02)


def test_defaults_are_those_of_the_generic_preset() -> None:
    spec, preset = HardwareSpec(), load_spec("generic-4bit")
    assert spec.replace({"device.name": preset.device.name}).device == preset.device
    assert (spec.array, spec.periphery, spec.programming) == (preset.array, preset.periphery, preset.programming)


def test_overrides_are_applied_on_loading() -> None:
    spec = load_spec("yao2020", {"device.v_read_V": 0.1}, weight_bits=4)
    assert (spec.device.v_read_V, spec.device.weight_bits, spec.device.g_max_S) == (0.1, 4, 20e-6)
    assert load_spec(spec) is spec
    assert load_spec(spec, weight_bits=5).device.weight_bits == 5


def test_a_partial_file_takes_defaults_or_those_of_its_base(tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_text("[device]\nweight_bits = 3\n", encoding="utf-8")
    assert load_spec(path) == HardwareSpec(name="lab", device=Device(weight_bits=3))
    path.write_text('base = "yao2020"\n[device]\nlevels_S = [2e-6, 2e-5]\n', encoding="utf-8-sig")
    spec = load_spec(path)
    assert spec.name == "lab"
    assert spec.array == load_spec("yao2020").array
    assert spec.device.weight_bits is None
    assert spec.device.n_states == 2
    assert "base" not in spec.to_toml()


def test_sources_can_be_written_flat_or_by_section() -> None:
    flat = spec_from_toml('[sources]\n"device.g_min_S" = "paper"\n')
    assert flat == spec_from_toml('[sources.device]\ng_min_S = "paper"\n')
    assert flat.sources == {"device.g_min_S": "paper"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[device]\nweight_bits = = 3\n", r"not valid TOML:.*line 2"),
        (f"[device]\nweight_bits = {'1' * 5_000}\n", r"not valid TOML: .*limit \(4300 digits\)"),
        (f"x = {'[' * 5_000}{']' * 5_000}\n", r"not valid TOML: expected at most 16 levels of nesting"),
        (f"a{'.a' * 500} = 1\n", r"not valid TOML: expected at most 16 levels of nesting"),
        ("[device]\nweigth_bits = 3\n", r"unknown key 'weigth_bits' in \[device\]; did you mean 'weight_bits'"),
        ('base = "yao2020"\n[device]\nweigth_bits = 3\n', r"did you mean 'weight_bits'"),
        ('base = "yao2002"\n', r"no preset 'yao2002'; did you mean 'yao2020'"),
        ("base = 3\n", r"base: expected the name of a preset, got 3"),
        ("[device]\ng_min_S = nan\n", r"device\.g_min_S: expected a finite number"),
        ('[device]\ng_min_S = "none"\n', r"device\.g_min_S: expected a valid number"),
        ('[device]\nweight_bits = "none"\n', r"neither weight_bits nor levels_S"),
        ("device = 3\n", r"device: expected a table"),
        ('base = "yao2020"\ndevice = 3\n', r"device: expected a table"),
    ],
)
def test_wrong_files_are_refused_with_their_name(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=message):
        spec_from_toml(text)
    path = tmp_path / "lab.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match=message) as caught:
        load_spec(path)
    assert str(caught.value).startswith(str(path))


def test_what_is_no_spec_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SpecError, match=r"no preset 'yao202'; did you mean 'yao2020'\? \(presets: cmo-hfox, generic-3bit-harsh"
    ):
        load_spec("yao202")
    with pytest.raises(SpecError, match="no such file"):
        load_spec("missing.toml")
    with pytest.raises(SpecError, match="no such file"):
        load_spec(tmp_path / "missing")
    with pytest.raises(SpecError, match="cannot be read"):
        load_spec(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(SpecError, match=r"binary\.toml: expected a TOML file in UTF-8"):
        load_spec(tmp_path / "binary.toml")
    not_a_source: Any = 3
    with pytest.raises(SpecError, match=r"expected the name of a preset.*got 3"):
        load_spec(not_a_source)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("device.weight_bits=3", ("device.weight_bits", 3)),
        ("g_min_S = 2e-6", ("g_min_S", 2e-6)),
        ("limit_states=false", ("limit_states", False)),
        ("levels_S=[1e-6, 2e-6]", ("levels_S", [1e-6, 2e-6])),
        ("readout=two_stage", ("readout", "two_stage")),
        ('name="a = b"', ("name", "a = b")),
        ("name=a = b", ("name", "a = b")),
        ("weight_bits=none", ("weight_bits", None)),
        ("name=3\nx=4", ("name", "3\nx=4")),
        ("name=", ("name", "")),
    ],
)
def test_assignments_are_read_as_toml_values(text: str, expected: tuple[str, Any]) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["weight_bits", "=3", ""])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="expected key=value, such as device"):
        parse_assignment(text)


def test_assignments_lead_to_a_spec() -> None:
    settings = dict(map(parse_assignment, ["device.levels_S=[6e-5, 1e-4]", "readout=two_stage"]))
    spec = load_spec("generic-4bit", settings)
    assert spec.device.levels_S == (6e-5, 1e-4)
    assert spec.periphery.readout == "two_stage"


# ---- parts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", part_names())
def test_each_part_names_its_sources_and_changes_nothing_else(part: str) -> None:
    plain, with_part = load_spec("generic-4bit"), load_spec(f"generic-4bit+{part}")
    assert with_part.name == f"generic-4bit+{part}"
    for section in SECTIONS:
        for (field, before), (_, after) in zip(getattr(plain, section), getattr(with_part, section), strict=True):
            changed = before != after
            own = with_part.sources.get(f"{section}.{field}") != plain.sources.get(f"{section}.{field}")
            assert own or not changed, (section, field)
    assert with_part.restrictions()["offset"]
    assert not with_part.warnings()
    assert spec_from_toml(with_part.to_toml()) == with_part


def test_parts_follow_one_another_presets_and_files(tmp_path: Path) -> None:
    both = load_spec("yao2020+on-chip+opa836")
    assert both.periphery.amplifier_offset_V == load_spec("yao2020+opa836").periphery.amplifier_offset_V
    assert both.periphery.amplifier_gain == load_spec("yao2020+on-chip").periphery.amplifier_gain
    path = load_spec("generic-4bit", name="mine", weight_bits=3).save(tmp_path / "mine.toml")
    mine = load_spec(f"{path}+opa836", v_read_V=0.2)
    assert (mine.device.weight_bits, mine.device.v_read_V, mine.periphery.v_floor_V) == (3, 0.2, 0.15)
    assert spec_from_toml('base = "generic-4bit+opa836"').periphery.v_floor_V == 0.15
    plus = load_spec("generic-4bit").save(tmp_path / "a+b.toml")
    assert load_spec(str(plus)).device == load_spec("generic-4bit").device


def test_a_part_that_there_is_not_is_refused_with_the_nearest() -> None:
    with pytest.raises(SpecError, match="there is no part 'opa83'; did you mean 'opa836'"):
        load_spec("generic-4bit+opa83")
    with pytest.raises(SpecError, match="there is no preset 'opa836'"):
        load_spec("opa836")
