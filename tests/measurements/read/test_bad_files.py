"""Every way in which a CSV file can be wrong gets a clear answer."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

import hrat
from hrat.errors import DataError
from measurements.made_files import Write, each_row, values, with_header


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "sweep.csv: the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"PK\x03\x04\x14\x00\x06\x00\x08\x00", "no text (a workbook or an archive); save or export it as CSV"),
        (bytes(range(256)) * 10, "this is no text"),
        (b"# a comment\n", "has no header"),
        (b"device,cycle,pulse,voltage_V,width_s,conductance_uS\n", "there is a header and no row below it"),
        (b"0,0,1,1.5,1e-7,20.0\n", "the first line has numbers only; expected a header"),
    ],
    ids=["empty", "blank", "xlsx", "binary", "comment", "header only", "no header"],
)
def test_files_that_are_no_table(write: Write, content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=re.escape(words)):
        hrat.fit_device(write(content))


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (
            "device,cycle,pulse,voltage_V,width_ns,conductance",
            "the column 'conductance' names no unit; expected one of S",
        ),
        (
            "device,cycle,pulse,voltage,width_ns,conductance_uS",
            "the column 'voltage' names no unit; expected one of V, mV",
        ),
        (
            "device,cycle,pulse,voltage_V,width_ns,conductance_A",
            "has the unit 'A'; expected one of S, mS, uS, nS, pS, Ohm",
        ),
        ("device,cycle,pulse,voltage_V,width_ns,R (mOhm)", "has the unit 'mOhm'; expected one of"),
        ("device,cycle,number,voltage_V,width_ns,conductance_uS", "lacks pulse"),
        ("device,cycle,pulse,current_A,width_ns,conductance_uS", "lacks voltage"),
        ("device,cycle,pulse,voltage_V,width_ns,current_uA", "lacks conductance"),
        ("device,cycle,pulse,voltage_V,resistance_Ohm,conductance_uS", "are both taken for the conductance"),
        ("a,b,c,d,e,f", "Found none that is known; not understood: 'a', 'b'"),
    ],
)
def test_columns_that_are_missing_or_have_no_unit(write: Write, sweeps: str, header: str, words: str) -> None:
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        hrat.fit_device(write(with_header(sweeps, header)))
    assert "sweep.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("device,cycle,pulse,voltage_V,width_ns,conductance_S", "expected 1e-12 to 1 S. Is the unit in its header"),
        ("device,cycle,pulse,voltage_mV,width_ns,conductance_pS", "voltage_mV"),
        ("device,cycle,pulse,voltage_V,width_h,conductance_uS", "width_h"),
    ],
)
def test_units_that_cannot_be(write: Write, sweeps: str, header: str, words: str) -> None:
    text = each_row(sweeps, lambda row: [*row[:3], str(0.001 * float(row[3])), *row[4:]]) if "mV" in header else sweeps
    with pytest.raises(DataError, match=re.escape(words)):
        hrat.fit_device(write(with_header(text, header)))


def test_a_wrong_unit_shows_between_files(write: Write, sweeps: str) -> None:
    retention = "device,time_s,conductance_nS\n" + "".join(f"{d},{t},{20 + d}\n" for d in range(30) for t in (0, 10))
    with pytest.raises(DataError, match=r"a factor of .* Is a unit wrong in one of the headers"):
        hrat.fit_device([write(sweeps), write(retention, "retention.csv")])


def test_pulse_numbers_that_run_down_are_refused(write: Write, sweeps: str) -> None:
    text = each_row(sweeps, lambda row: [*row[:2], str(200 - int(row[2])), *row[3:]])
    with pytest.raises(DataError, match=r"pulse numbers run down \(as from 200 to 199\)"):
        hrat.fit_device(write(text))


def test_all_rows_bad(write: Write, sweeps: str) -> None:
    text = each_row(sweeps, lambda row: [*row[:5], "-" + row[5]])
    with pytest.raises(DataError, match="no row is left to fit"):
        hrat.fit_device(write(text))


def test_rows_that_are_no_measurements_are_dropped_and_counted(write: Write, sweeps: str) -> None:
    lines = sweeps.strip().split("\n")
    for place, cell in ((50, "nan"), (200, ""), (333, "n/a"), (410, "-3.2"), (512, "inf"), (600, "0")):
        lines[place] = ",".join([*lines[place].split(",")[:5], cell])
    lines[700] = "d1,0"
    fit = hrat.fit_device(write("\n".join(lines)))
    (report,) = fit.cleaning
    assert sum(report.dropped.values()) == 7
    assert report.dropped["a cell is empty or no number"] == 4
    assert report.n_kept == report.n_rows - 7
    clean = values(write(sweeps))
    assert {part.field for part in fit.parameters} == set(clean)
    assert fit.parameter("n_set").value == pytest.approx(clean["soft_bounds.n_set"], rel=0.03)


def test_a_double_row_is_dropped(write: Write, sweeps: str) -> None:
    lines = sweeps.strip().split("\n")
    fit = hrat.fit_device(write("\n".join([*lines[:100], lines[99], lines[99], *lines[100:]])))
    assert fit.cleaning[0].dropped == {"the same row stands there twice": 2}
    assert values(write(sweeps))["soft_bounds.n_set"] == fit.parameter("n_set").value


def test_rows_out_of_order_are_sorted(write: Write, sweeps: str) -> None:
    comment, header, *rows = sweeps.strip().split("\n")
    expected = values(write(sweeps))
    np.random.default_rng(0).shuffle(rows)
    fit = hrat.fit_device(write("\n".join([comment, header, *rows])))
    assert any("out of order" in note for note in fit.cleaning[0].notes)
    assert fit.parameter("n_set").value == pytest.approx(expected["soft_bounds.n_set"], rel=1e-6)


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace("conductance_uS", "conductance (µS)").encode("utf-8"),
        lambda text: text.replace("conductance_uS", "conductance [µS]").encode("cp1252"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace(",", ";").replace(".", ",").encode(),
        lambda text: text.replace(",", "\t").replace("d0", "device 0").encode(),
        lambda text: re.sub(r"^(d\d+)", r'"\1"', text, flags=re.MULTILINE).encode(),
    ],
    ids=["bom", "utf-16", "micro", "cp1252", "crlf", "semicolons", "tabs", "quotes"],
)
def test_encodings_and_delimiters(write: Write, sweeps: str, encode: Callable[[str], bytes]) -> None:
    assert values(write(encode(sweeps))) == values(write(sweeps))


def test_resistances_and_other_units_give_the_same_device(write: Write, sweeps: str) -> None:
    as_resistance = with_header(
        each_row(
            sweeps,
            lambda row: [*row[:3], str(1000 * float(row[3])), str(float(row[4]) / 1000), repr(1e3 / float(row[5]))],
        ),
        "Device ID,cycle number,Pulse No,pulse voltage (mV),width/us,R_kOhm",
    )
    expected = values(write(sweeps))
    found = values(write(as_resistance))
    assert found == pytest.approx(expected, rel=1e-6)


def test_no_cycle_column_and_counters_that_begin_anew_with_each_direction(write: Write, sweeps: str) -> None:
    expected = values(write(sweeps))
    without_cycle = each_row(sweeps, lambda row: [row[0], row[2], *row[3:]])
    found = values(write(with_header(without_cycle, "device,pulse,voltage_V,width_ns,conductance_uS")))
    assert found == pytest.approx(expected, rel=1e-9)
    restarting = each_row(sweeps, lambda row: [*row[:2], str(int(row[2]) - 61 * (int(row[2]) > 60)), *row[3:]])
    fit = hrat.fit_device(write(restarting))
    assert fit.parameter("n_set").value == pytest.approx(expected["soft_bounds.n_set"], rel=0.01)
    assert fit.parameter("n_reset").value == pytest.approx(expected["soft_bounds.n_reset"], rel=0.05)


def test_faults_anywhere_in_a_large_file_cost_their_own_rows_only(write: Write, sweeps: str) -> None:
    comment, header, *rows = sweeps.strip().split("\n")
    many = [f"p{part}{row}" for part in range(12) for row in rows]
    expected = values(write("\n".join([comment, header, *many])))
    many[5000] = many[5000].rpartition(",")[0] + ",NaN?"
    many[9000] = '"' + many[9000]
    many[12_000] = "\x00\x01,,"
    text = "\n".join([comment, header, *many]).encode()
    cut = text.rindex(b",")
    fit = hrat.fit_device(write(text[:cut] + b",\xff\xfe" + b"\n"))
    assert sum(fit.cleaning[0].dropped.values()) == 3
    assert fit.parameter("n_set").value == pytest.approx(expected["soft_bounds.n_set"], rel=0.01)
    assert fit.parameter("device_spread_rel").value == pytest.approx(expected["pulses.device_spread_rel"], rel=0.01)


def test_a_cell_of_a_megabyte_is_one_row_that_is_left_out_or_a_header_that_is_refused(
    write: Write, sweeps: str
) -> None:
    fit = hrat.fit_device(write(sweeps + "d" * 2_000_000 + ",0,1,1.5,20\n"))
    assert sum(sum(report.dropped.values()) for report in fit.cleaning) == 1
    with pytest.raises(DataError, match="header cannot be read as CSV"):
        hrat.fit_device(write("d" * 2_000_000 + "," + sweeps))


def test_names_of_files_go_into_the_spec_as_far_as_they_show(write: Write, sweeps: str) -> None:
    spec = hrat.fit_device(write(sweeps, "a\n.control.csv")).spec
    assert spec.name == spec.device.name == "a\\x0a.control"
    assert "a\\x0a.control.csv" in spec.description


@pytest.mark.parametrize("value", ["1e300", "1e-300"])
def test_a_value_that_no_instrument_shows_is_left_out(write: Write, sweeps: str, value: str) -> None:
    lines = sweeps.splitlines()
    lines[-3] = ",".join([*lines[-3].split(",")[:-1], value])
    fit = hrat.fit_device(write("\n".join(lines)))
    assert fit.cleaning[0].dropped == {"a value far beyond what any device or instrument has": 1}
