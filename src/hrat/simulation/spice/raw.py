"""Reader of the binary raw files that ngspice writes.

A file holds one plot after the other, each a text header

    Title: ... / Plotname: ... / Flags: real | complex / No. Variables: n / No. Points: m / Variables: / index name kind

and, behind a line `Binary:`, m records of n doubles, or n pairs of doubles where the values are complex (the scale
comes first). Byte order is that of the machine.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrat.simulation.spice.circuit import CircuitError

__all__ = ["Plot", "RawFileError", "read_raw"]


class RawFileError(CircuitError):
    """A raw file that is damaged, cut off or not one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Plot:
    """One analysis."""

    name: str
    """Name of the analysis, such as `DC transfer characteristic`."""
    variables: tuple[str, ...]
    """Names, such as `v(layer1_out0)`, in lower case; the first is the scale."""
    values: NDArray[Any]
    """`(points, variables)`, float64 or complex128."""

    def __getitem__(self, variable: str) -> NDArray[Any]:
        """One variable, `(points,)`."""
        return self.columns([variable])[:, 0]

    def columns(self, variables: list[str]) -> NDArray[Any]:
        """Values of some variables, `(points, len(variables))`.

        Raises:
            RawFileError: one of them is not there.
        """
        place = {name: k for k, name in enumerate(self.variables)}
        missing = [name for name in variables if name not in place]
        if missing:
            raise RawFileError(f"plot '{self.name}' has no {missing[0]}; it has {len(place)} variables")
        return self.values[:, [place[name] for name in variables]]


def read_raw(path: str | os.PathLike[str]) -> list[Plot]:
    """All plots of a file.

    Raises:
        RawFileError: the file is not a whole raw file.
        OSError: it cannot be read.
    """
    data = Path(path).read_bytes()
    plots, at = [], 0
    while data[at : at + 64].strip():
        plot, at = _plot(data, at, str(path))
        plots.append(plot)
    if not plots:
        raise RawFileError(f"{path}: expected a raw file with at least one plot, got an empty file")
    return plots


def _plot(data: bytes, at: int, path: str) -> tuple[Plot, int]:
    mark = b"Binary:\n"
    end = data.find(mark, at)
    if end < 0:
        raise RawFileError(
            f"{path}: expected a header that ends in 'Binary:' at byte {at}, got {data[at : at + 40]!r}; the file is "
            "cut off, in text form, or not a raw file"
        )
    fields, variables = _header(data[at:end].decode("utf-8", errors="replace"))
    try:
        n_variables, n_points = int(fields["no. variables"]), int(fields["no. points"])
        is_complex = "complex" in fields["flags"]
    except (KeyError, ValueError) as error:
        raise RawFileError(f"{path}: the header at byte {at} lacks or garbles {error}") from error
    if len(variables) != n_variables:
        raise RawFileError(f"{path}: expected {n_variables} variables in the header, got {len(variables)}")
    dtype = np.dtype(np.complex128 if is_complex else np.float64)
    start = end + len(mark)
    stop = start + n_points * n_variables * dtype.itemsize
    if stop > len(data):
        raise RawFileError(
            f"{path}: expected {stop - start} bytes of values ({n_points} points of {n_variables} variables), got "
            f"{len(data) - start}; the file is cut off (a full disk, or a run that was killed)"
        )
    values = np.frombuffer(data[start:stop], dtype=dtype).reshape(n_points, n_variables)
    return Plot(name=fields.get("plotname", ""), variables=tuple(variables), values=values), stop


def _header(text: str) -> tuple[dict[str, str], list[str]]:
    head, _, listing = text.partition("Variables:\n")
    # "No. Variables: 3" is a field of its own, so that the list is the last one that the line break follows.
    pairs = (line.partition(":") for line in head.splitlines())
    fields = {key.strip().lower(): value.strip() for key, _, value in pairs}
    variables = [line.split()[1].lower() for line in listing.splitlines() if len(line.split()) >= 2]
    return fields, variables
