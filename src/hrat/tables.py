"""CSV tables, written and read: for people, their spreadsheets, and labs with tools of their own."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from hrat.errors import ArtifactError
from hrat.names import one_line

__all__ = ["csv_records", "csv_rows", "csv_text", "text_cell"]

NUMBER_WORDS = re.compile(r"[+-]?(\d[\d.,]*(e[+-]?\d+)?|inf|nan)( [\w%µ²/ ]+)?|[+-]", re.IGNORECASE)
"""Numbers, such as -1e-6 and `+2.1 points`, and a dash that stands for nothing."""
MOST_LINE_CHARACTERS = 2**20
NOT_TEXT = {
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"PK": "a workbook or a zip archive; save the table as CSV",
    b"\xff\xfe": "text in UTF-16; save it as 'CSV UTF-8'",
    b"\xfe\xff": "text in UTF-16; save it as 'CSV UTF-8'",
}


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as CSV text; words in it are made harmless, see `text_cell`.

    Args:
        header: names of the columns.
        rows: cells; None is an empty one.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow([text_cell(cell) if isinstance(cell, str) else cell for cell in row])
    return text.getvalue()


def text_cell(text: str) -> str:
    """Words as a cell: one printable line that no spreadsheet takes for a formula.

    A formula begins with one of `= + - @` and could start programs; an apostrophe in front makes it plain text. Numbers
    stay as they are.
    """
    line = one_line(text, None)
    return f"'{line}" if line[:1] in {"=", "+", "-", "@"} and not NUMBER_WORDS.fullmatch(line) else line


def csv_rows(path: str | os.PathLike[str]) -> Iterator[tuple[int, list[str]]]:
    """The number and the cells of each line of a CSV file in UTF-8, the header too; empty lines are passed over.

    Raises:
        FileNotFoundError: nothing stands at `path`.
        ArtifactError: it is a folder, no text, text in another encoding, or text that is no CSV.
    """
    path = Path(path)
    if path.is_dir():
        raise ArtifactError(f"{path} is a folder; expected a CSV file")
    with path.open("rb") as binary:
        start = binary.peek(2)[:2]
        if kind := next((kind for mark, kind in NOT_TEXT.items() if start == mark), None):
            raise ArtifactError(f"{path}: expected a CSV file in UTF-8, got {kind}")
        with io.TextIOWrapper(binary, encoding="utf-8-sig", newline="") as text:
            rows = csv.reader(_lines(text, path), strict=True)
            try:
                yield from ((rows.line_num, cells) for cells in rows if cells)
            except UnicodeDecodeError as error:
                raise ArtifactError(
                    f"{path}: expected a CSV file in UTF-8, got the byte 0x{error.object[error.start]:02x}, which is "
                    "none of it; save it as 'CSV UTF-8'"
                ) from None
            except csv.Error as error:
                raise ArtifactError(f"{path}, line {rows.line_num}: expected a line of a CSV file ({error})") from None


def csv_records(path: str | os.PathLike[str], columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Place of each line below the header, for messages, and its cells of some columns, in their order.

    Raises:
        FileNotFoundError: nothing stands at `path`.
        ArtifactError: as for `csv_rows`; a column is missing, or a cell is.
    """
    rows = csv_rows(path)
    _, header = next(rows, (1, []))
    missing = [column for column in columns if column not in header]
    if missing:
        hint = "; the columns seem to be parted by ';'" if ";" in "".join(header[:1]) else ""
        raise ArtifactError(f"{path}: expected the columns {', '.join(columns)}; {missing[0]} is missing{hint}")
    order = [header.index(column) for column in columns]
    for number, cells in rows:
        where = f"{path}, line {number}"
        try:
            record = [cells[place] for place in order]
        except IndexError:
            raise ArtifactError(f"{where}: expected {len(header)} cells, got {len(cells)}") from None
        yield where, record


def _lines(text: TextIO, path: Path) -> Iterator[str]:
    """Lines of a sensible length without NUL, of which csv makes cells."""
    number = 0
    while line := text.readline(MOST_LINE_CHARACTERS):
        number += 1
        if "\0" in line:
            raise ArtifactError(
                f"{path}, line {number}: expected a CSV file in UTF-8, got a NUL, as text in UTF-16 and damaged "
                "files have; save it as 'CSV UTF-8'"
            )
        if len(line) == MOST_LINE_CHARACTERS:
            raise ArtifactError(
                f"{path}, line {number}: expected a line of fewer than {MOST_LINE_CHARACTERS:,} characters"
            )
        yield line
