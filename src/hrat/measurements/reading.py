"""A CSV file as columns of numbers, in blocks, so that ten million rows neither fill the memory nor stop the clock."""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

import numpy as np
from numpy.typing import NDArray

from hrat.errors import DataError
from hrat.measurements.columns import Column, RecordKind, recognised, record_kind
from hrat.names import one_line

__all__ = ["Floats", "Progress", "RawTable", "read_table"]

Floats = NDArray[np.float64]

Progress = Callable[[str, float], None]
"""Called with what is being done and how much of it is done, 0 to 1."""

BLOCK_CHARACTERS = 2**24
"""Text that is read at a time."""

SMALL_BLOCK = 2**15
"""Text that is read cell by cell where something in it is no number."""

DELIMITERS = (";", "\t", ",")

NOT_A_NUMBER = float("nan")


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
    """What was odd about the file itself."""

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.columns.values())))


def read_table(path: str | os.PathLike[str], progress: Progress | None = None) -> RawTable:
    """Read a CSV file.

    Args:
        path: comma, semicolon or tab between the columns (with semicolons and tabs, decimal commas too); a header
            with units; lines that begin with `#` above it are passed over.
        progress: told how far the reading is.

    Raises:
        DataError: not text, no header, no rows, an unknown unit, or columns that fit no kind of record.
        OSError: the file cannot be read.
    """
    path = Path(path)
    where = path.name
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
        blocks = _Blocks(used, delimiter, len(header))
        rows: list[Floats] = []
        for lines in _blocks_of(text):
            rows.append(blocks.numbers(lines))
            if progress is not None:
                progress(f"reading {where}", min(binary.tell() / size, 1.0))
    numbers = np.concatenate(rows, axis=1) if rows else np.empty((len(used), 0))
    if numbers.shape[1] == 0:
        raise DataError(f"{where}: there is a header and no row below it; expected measurements")
    found: dict[str, Floats] = {}
    for column, values in zip(used, numbers, strict=True):
        found[column.role] = _in_si(values, column)
    return RawTable(
        where=where,
        kind=kind,
        columns=found,
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
    """How the file's text is encoded.

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


def _blocks_of(text: TextIO) -> Iterator[str]:
    """Pieces of whole lines."""
    while block := text.read(BLOCK_CHARACTERS):
        yield block + text.readline()


class _Blocks:
    """Turns text into numbers: quickly where it is clean, cell by cell where it is not."""

    def __init__(self, used: list[Column], delimiter: str, n_cells: int) -> None:
        self.used = used
        self.delimiter = delimiter
        self.n_cells = n_cells
        self.names: dict[str, int] = {}
        """Name of a device -> its number, in order of appearance."""
        self.device = next((k for k, column in enumerate(used) if column.role == "device"), None)

    def numbers(self, block: str) -> Floats:
        """`(columns, rows)`; not a number where a cell is missing or is none."""
        if self.delimiter != "," and "," in block:
            block = block.replace(",", ".")
        if self.delimiter == "\t":
            block = block.replace(" ", "")  # loadtxt takes blanks for empty cells at the ends of lines
        try:
            return self._quick(block)
        except ValueError:
            pass
        if len(block) <= SMALL_BLOCK:
            return self._slow(block)
        # One bad cell must not make a whole block slow.
        middle = block.index("\n", len(block) // 2) + 1 if "\n" in block[len(block) // 2 : -1] else len(block)
        parts = [block[:middle], block[middle:]]
        return np.concatenate([self.numbers(part) for part in parts if part], axis=1) if parts[1] else self._slow(block)

    def _quick(self, block: str) -> Floats:
        places = [column.place for column in self.used]
        converters: dict[int | str, Callable[[str], int]] | None = None
        if self.device is not None:
            converters = {places[self.device]: self._number_of}
        if not block.strip():
            return np.empty((len(places), 0))
        table = np.loadtxt(
            io.StringIO(block),
            dtype=np.float64,
            delimiter=self.delimiter,
            usecols=places,
            ndmin=2,
            converters=converters,
            encoding=None,
            quotechar='"',
            comments=None,
        )
        return np.ascontiguousarray(table.T)

    def _number_of(self, name: str) -> int:
        return self.names.setdefault(name.strip(), len(self.names))

    def _slow(self, block: str) -> Floats:
        rows = []
        for cells in _rows(block, self.delimiter):
            if not any(cell.strip() for cell in cells) or cells[0].startswith("#"):
                continue
            whole = len(cells) == self.n_cells
            rows.append([self._cell(cells, k) if whole else NOT_A_NUMBER for k in range(len(self.used))])
        return np.array(rows, dtype=np.float64).reshape(-1, len(self.used)).T.copy()

    def _cell(self, cells: list[str], k: int) -> float:
        text = cells[self.used[k].place].strip()
        if k == self.device:
            return float(self._number_of(text)) if text else NOT_A_NUMBER
        try:
            return float(text)
        except ValueError:
            return NOT_A_NUMBER


def _rows(block: str, delimiter: str) -> Iterator[list[str]]:
    """The cells of each line; a line that is none (a cell of a megabyte) counts as one that is off."""
    rows = csv.reader(block.splitlines(), delimiter=delimiter, quoting=_quoting(block))
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error:
            yield ["no CSV"]


def _quoting(block: str) -> Literal[0, 3]:
    """Whether quotes enclose cells; an odd number of them would swallow the rest of the block."""
    return csv.QUOTE_NONE if block.count('"') % 2 else csv.QUOTE_MINIMAL
