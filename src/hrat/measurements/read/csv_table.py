"""A CSV file -> columns of numbers in SI units: its encoding, its delimiter, its header and its rows."""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from hrat.errors import DataError
from hrat.measurements.read.arrays import Floats
from hrat.measurements.read.columns import Column, RecordKind, recognised, record_kind
from hrat.measurements.read.csv_blocks import BlockParser, text_blocks
from hrat.names import one_line

__all__ = ["Progress", "RawTable", "read_table"]

Progress = Callable[[str, float], None]
"""Called with the current task and the part of it that is done, 0 to 1."""

DELIMITERS = (";", "\t", ",")


@dataclass(frozen=True)
class RawTable:
    """The columns of a file that hrat can use, in SI units, with all faults that its rows have."""

    where: str
    """Name of the file."""
    kind: RecordKind
    columns: dict[str, Floats]
    """Role -> values, `(rows,)`, in SI units; NaN where the file has none. `device` holds numbers, in the order in
    which the names appear."""
    headers: dict[str, str]
    """Role -> header of its column."""
    unused: tuple[str, ...]
    """Headers of columns that hrat does not know."""
    notes: tuple[str, ...] = ()
    """Remarks on the file itself."""

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values())))


def read_table(path: str | os.PathLike[str], progress: Progress | None = None) -> RawTable:
    """Read a CSV file.

    Args:
        path: comma, semicolon or tab between the columns (with semicolons and tabs, decimal commas too); a header
            with units; lines that begin with `#` above it are passed over.
        progress: called with the progress of reading.

    Raises:
        DataError: not text, no header, no rows, an unknown unit, or columns that fit no kind of record.
        OSError: the file cannot be read.
    """
    path = Path(path)
    where = one_line(path.name)
    encoding, notes = _encoding(path)
    size = max(path.stat().st_size, 1)
    with path.open("rb") as binary, io.TextIOWrapper(binary, encoding, "replace") as text:
        header_line = _header_line(text, where)
        delimiter = next((sign for sign in DELIMITERS if sign in header_line), ",")
        header = _header(header_line, delimiter, where)
        columns, unused = recognised(header, where)
        kind = record_kind(columns, unused, where)
        used = [column for column in columns if column.role in (*kind.needed, *kind.optional)]
        unused += [column.header for column in columns if column not in used]
        parser = BlockParser(used, delimiter, len(header))
        rows: list[Floats] = []
        for block in text_blocks(text):
            rows.append(parser.numbers(block))
            if progress is not None:
                progress(f"reading {where}", min(binary.tell() / size, 1.0))
    numbers = np.concatenate(rows, axis=1) if rows else np.empty((len(used), 0))
    if numbers.shape[1] == 0:
        raise DataError(f"{where}: there is a header and no row below it; expected measurements")
    return RawTable(
        where=where,
        kind=kind,
        columns={column.role: _in_si(values, column) for column, values in zip(used, numbers, strict=True)},
        headers={column.role: column.header for column in used},
        unused=tuple(unused),
        notes=tuple(notes),
    )


def _in_si(values: Floats, column: Column) -> Floats:
    values *= column.factor  # in place: ten million of them
    values += column.offset
    if column.reciprocal:
        with np.errstate(divide="ignore"):
            np.reciprocal(values, out=values)
    return values


def _encoding(path: Path) -> tuple[str, list[str]]:
    """Encoding of the file's text.

    Raises:
        DataError: the file is empty or no text.
    """
    with path.open("rb") as file:
        start = file.read(2**16)
    if not start.strip():
        raise DataError(f"{path.name}: the file is empty; expected a CSV file with a header")
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if start.startswith(mark):
            return name, []
    if b"\0" in start or start.startswith((b"PK\x03\x04", b"\x1f\x8b", b"\x89PNG")):
        kind = " (a workbook or an archive)" if start.startswith((b"PK", b"\x1f\x8b")) else ""
        raise DataError(f"{path.name}: this is no text{kind}; save or export it as CSV")
    # Only complete lines: the last character of the sample may be cut.
    try:
        _whole_lines(start).decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252", [f"{path.name} is not UTF-8; it was read as Windows-1252 (Latin)"]
    return "utf-8", []


def _whole_lines(start: bytes) -> bytes:
    """The start of a file, by which its encoding is judged, cut behind a line: no character is cut in two."""
    return start if len(start) < 2**16 else start[: start.rfind(b"\n") + 1]


def _header_line(text: TextIO, where: str) -> str:
    for line in text:
        if line.strip() and not line.startswith("#"):
            cells = re.split(r"[;,\t]", line)
            if all(_is_number(cell) for cell in cells):
                raise DataError(
                    f"{where}: the first line has numbers only; expected a header that names the columns and units, "
                    "as in device,cycle,pulse,voltage_V,width_s,conductance_uS"
                )
            return line.rstrip("\n")
    raise DataError(f"{where}: the file has no header; expected one that names columns and units")


def _header(line: str, delimiter: str, where: str) -> list[str]:
    try:
        cells = next(csv.reader([line], delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"{where}: the header cannot be read as CSV ({error}); expected the names of columns") from None
    return [one_line(cell.strip()) for cell in cells]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
