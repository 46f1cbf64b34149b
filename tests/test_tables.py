"""CSV as spreadsheets and labs get it and send it."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrat.errors import ArtifactError
from hrat.names import one_line
from hrat.tables import csv_records, csv_rows, csv_text, text_cell

ANY = st.text(st.characters(exclude_categories=()), max_size=40)
CELLS = st.lists(st.lists(ANY | st.integers() | st.floats() | st.none(), min_size=2, max_size=4), max_size=5)


@given(CELLS)
def test_a_table_is_read_with_as_many_cells_as_were_written(rows: list[list[object]]) -> None:
    text = csv_text(["a", "b"], rows)
    text.encode("utf-8")
    read = list(csv.reader(io.StringIO(text), strict=True))
    assert text.count("\n") == len(read) == len(rows) + 1
    for cells, row in zip(read[1:], rows, strict=True):
        assert cells == ["" if c is None else text_cell(c) if isinstance(c, str) else str(c) for c in row]


@given(ANY)
def test_no_words_are_a_formula(text: str) -> None:
    cell = text_cell(text)
    if cell[:1] in ("=", "@") or (cell[:1] in ("+", "-") and any(sign in cell for sign in "()!|'\"&*=@")):
        pytest.fail(f"{cell!r} would be computed")
    assert cell.removeprefix("'") == one_line(text, None).removeprefix("'")


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "=cmd|' /C calc'!A0", "-A1", "+", "-x", "--"])
def test_formulas_get_an_apostrophe(text: str) -> None:
    assert text_cell(text) == (text if text == "+" else f"'{text}")


@pytest.mark.parametrize(
    "text", ["-1e-6", "+2 points", "-12.3 %", "-", "-1,234.5", "-0.5 µS", "inf", "-inf", "nan", ""]
)
def test_numbers_stay_numbers(text: str) -> None:
    assert text_cell(text) == text


def test_numbers_are_written_to_the_last_bit() -> None:
    assert csv_text(["a"], [[-1e-6], [0.1 + 0.2], [None], [7]]) == 'a\n-1e-06\n0.30000000000000004\n""\n7\n'


# ---- reading ---------------------------------------------------------------------------------------------------------

TABLE = "layer,g_S\nSchicht ü,1e-6\n"
BAD: dict[str, tuple[bytes, str]] = {
    "utf-16": (TABLE.encode("utf-16"), "text in UTF-16; save it as 'CSV UTF-8'"),
    "utf-16-be": (b"\xfe\xff" + TABLE.encode("utf-16-be"), "text in UTF-16"),
    "utf-16 without a mark": (TABLE.encode("utf-16-le"), "expected a CSV file in UTF-8, got"),
    "utf-32": ("a,b\n".encode("utf-32-be"), "line 1: .* got a NUL"),
    "cp1252": (TABLE.encode("cp1252"), "got the byte 0xfc, which"),
    "gzip": (gzip.compress(TABLE.encode()), "a gzip archive; unpack it first"),
    "xlsx": (b"PK\x03\x04...", "a workbook or a zip archive"),
    "NUL": (b"layer,g_S\na\0b,1\n", "line 2: .* got a NUL"),
    "long cell": (b"layer,g_S\n" + b"a" * 200_000 + b",1\n", "line 2: .*field larger than"),
    "no line break": (b"layer,g_S\n" + b"a" * 2_000_000, "line 2: expected a line of fewer than"),
    "open quote": (b'layer,g_S\n"a,1\nb,2\n', "line 3: .*unexpected end of data"),
    "quote within": (b'layer,g_S\n"a"b,1\n', "line 2: expected a line of a CSV file"),
    "few cells": (b"layer,g_S\na\n", "line 2: expected 2 cells, got 1"),
    "semicolons": (b"layer;g_S\na;1\n", "layer is missing; the columns seem to be parted by ';'"),
    "empty": (b"", "layer is missing"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_table_in_utf_8_is_refused_with_words(name: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    content, said = BAD[name]
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=said) as refusal:
        list(csv_records(path, ("layer", "g_S")))
    assert str(path) in str(refusal.value)


def test_folders_and_missing_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is a folder; expected a CSV file"):
        list(csv_rows(tmp_path))
    with pytest.raises(FileNotFoundError):
        list(csv_rows(tmp_path / "x.csv"))


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_columns_come_in_the_order_asked_for(mark: bytes, end: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(mark + end.join(["a,b,c", "", '1,"x, y",3', "4,5,6,7"]).encode())
    assert list(csv_records(path, ("c", "b"))) == [(f"{path}, line 3", ["3", "x, y"]), (f"{path}, line 4", ["6", "5"])]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    try:
        records = list(csv_records(path, ("a",)))
    except ArtifactError:
        return
    assert all(len(cells) == 1 for _, cells in records)
