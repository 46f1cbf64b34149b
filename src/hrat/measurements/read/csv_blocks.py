"""Text -> numbers in blocks, so that ten million rows neither fill the memory nor take long."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from typing import Literal, TextIO

import numpy as np

from hrat.measurements.read.arrays import Floats
from hrat.measurements.read.columns import Column

__all__ = ["BlockParser", "text_blocks"]

BLOCK_CHARACTERS = 2**24
"""Characters that are read at a time."""

SMALL_BLOCK = 2**15
"""Characters that are parsed cell by cell where something in them is no number."""

NOT_A_NUMBER = float("nan")


def text_blocks(text: TextIO) -> Iterator[str]:
    """Pieces of the text, each of whole lines."""
    while block := text.read(BLOCK_CHARACTERS):
        yield block + text.readline()


class BlockParser:
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
            return self._parse_clean(block)
        except ValueError:
            pass
        if len(block) <= SMALL_BLOCK:
            return self._parse_cells(block)
        # One bad cell must not make a whole block slow.
        middle = block.index("\n", len(block) // 2) + 1 if "\n" in block[len(block) // 2 : -1] else len(block)
        parts = [block[:middle], block[middle:]]
        if not parts[1]:
            return self._parse_cells(block)
        return np.concatenate([self.numbers(part) for part in parts if part], axis=1)

    def _parse_clean(self, block: str) -> Floats:
        places = [column.place for column in self.used]
        converters: dict[int | str, Callable[[str], int]] | None = None
        if self.device is not None:
            converters = {places[self.device]: self._number_of_device}
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

    def _number_of_device(self, name: str) -> int:
        return self.names.setdefault(name.strip(), len(self.names))

    def _parse_cells(self, block: str) -> Floats:
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
            return float(self._number_of_device(text)) if text else NOT_A_NUMBER
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
