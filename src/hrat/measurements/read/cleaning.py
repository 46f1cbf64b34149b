"""Rows that cannot be measurements are taken out, and counted; figures that no device has are refused."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hrat.errors import DataError
from hrat.measurements.read.arrays import Floats, Mask
from hrat.measurements.read.csv_table import RawTable

__all__ = ["Cleaning", "check_scales_agree", "cleaned"]

PLAUSIBLE = {
    "conductance": (1e-12, 1.0, "S"),
    "target": (1e-12, 1.0, "S"),
    "achieved": (1e-12, 1.0, "S"),
    "voltage": (1e-3, 100.0, "V"),
    "width": (1e-13, 1e3, "s"),
    "time": (1e-9, 3.2e9, "s"),
    "temperature": (1.0, 1000.0, "K"),
}
"""Role -> the interval in which its median must lie, and its unit."""

FAR_BEYOND = 1e6
"""Factor beyond these intervals that no slip of a unit explains: such a cell is no measurement."""

USUAL_S = (1e-9, 1e-2)
"""Median conductances outside this interval are remarked on, S."""

FACTOR_BETWEEN_FILES = 300.0
"""Largest ratio of the median conductances of two files of one device."""


@dataclass
class Cleaning:
    """Cleaning report of a file: rows kept, dropped and why."""

    file: str
    kind: str
    """`pulse sweep`, `retention` or `write-verify`."""
    n_rows: int
    """Rows of the file."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Reason -> rows that were taken out."""
    notes: list[str] = field(default_factory=list)
    """Further remarks, one sentence each."""

    @property
    def n_kept(self) -> int:
        """Rows that were used."""
        return self.n_rows - sum(self.dropped.values())

    def drop(self, reason: str, count: int) -> None:
        """Count rows that are taken out."""
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    def sentences(self) -> list[str]:
        """The report, for people."""
        out = [f"{self.file}: {self.kind}, {self.n_kept:,} of {self.n_rows:,} rows used"]
        out += [f"{self.file}: {count:,} rows dropped: {reason}" for reason, count in self.dropped.items()]
        return out + [f"{self.file}: {note}" for note in self.notes]


def cleaned(table: RawTable) -> tuple[dict[str, Floats], Cleaning]:
    """The rows of a file that are measurements.

    Args:
        table: the file as it was read.

    Returns:
        Role -> values, in the order of the file, and the report.

    Raises:
        DataError: no row is left, or the figures are none that a device can have.
    """
    report = Cleaning(table.where, table.kind.name, table.n_rows, notes=list(table.notes))
    if table.unused:
        report.notes.append(f"columns that were not used: {', '.join(map(repr, table.unused))}")
    columns = table.columns
    missing, wrong = _missing(columns, table.n_rows), _impossible(columns, table.n_rows)
    wrong &= ~missing
    report.drop("a cell is empty or no number", int(missing.sum()))
    beyond = _far_beyond(columns, table.n_rows) & ~missing & ~wrong
    report.drop("a value far beyond what any device or instrument has", int(beyond.sum()))
    report.drop("infinite, or a conductance, resistance, width or temperature that is not above 0", int(wrong.sum()))
    keep = ~(missing | wrong | beyond)
    if not keep.any():
        reasons = "; ".join(f"{count:,} rows: {reason}" for reason, count in report.dropped.items())
        raise DataError(f"{table.where}: no row is left to fit ({reasons}); mend the file")
    kept = columns if keep.all() else {role: values[keep] for role, values in columns.items()}
    _check_scales(kept, table, report)
    if report.n_kept < 0.9 * report.n_rows:
        report.notes.append(f"only {report.n_kept / report.n_rows:.0%} of the rows could be used; look at the file")
    return kept, report


def _missing(columns: dict[str, Floats], n_rows: int) -> Mask:
    """Rows in which a value is missing."""
    missing = np.zeros(n_rows, dtype=bool)
    for values in columns.values():
        missing |= np.isnan(values)
    return missing


def _impossible(columns: dict[str, Floats], n_rows: int) -> Mask:
    """Rows with a value that no measurement has, missing ones among them."""
    # An infinite conductance was a resistance of zero; an infinite voltage was written so.
    wrong = np.zeros(n_rows, dtype=bool)
    for role, values in columns.items():
        if role in ("conductance", "achieved", "target", "width", "temperature"):
            wrong |= ~((values > 0) & (values < np.inf))
        elif role != "device":
            wrong |= ~np.isfinite(values)
    return wrong


def _far_beyond(columns: dict[str, Floats], n_rows: int) -> Mask:
    """Rows with a value that is too large, or a conductance that is too small, to be one of a device."""
    beyond = np.zeros(n_rows, dtype=bool)
    for role, values in columns.items():
        if role in PLAUSIBLE:
            low, high, unit = PLAUSIBLE[role]
            beyond |= np.abs(values) > high * FAR_BEYOND
            if unit == "S":
                beyond |= values < low / FAR_BEYOND
    return beyond


def _check_scales(columns: dict[str, Floats], table: RawTable, report: Cleaning) -> None:
    for role, (low, high, unit) in PLAUSIBLE.items():
        values = columns.get(role)
        if values is None:
            continue
        sizes = np.abs(values[:: max(len(values) // 100_000, 1)])
        sizes = sizes[sizes > 0]
        if len(sizes) == 0:
            continue
        middle = float(np.median(sizes))
        header = table.headers[role]
        if not low <= middle <= high:
            raise DataError(
                f"{table.where}: the median of the column {header!r} is {middle:.3g} {unit}; expected {low:g} to "
                f"{high:g} {unit}. Is the unit in its header the one of its numbers?"
            )
        if unit == "S" and not USUAL_S[0] <= middle <= USUAL_S[1]:
            report.notes.append(f"the median of {header!r} is {middle:.3g} S, which is rare: check the unit")


def check_scales_agree(medians_S: dict[str, float]) -> None:
    """Refuse files whose conductances are not of one device.

    Args:
        medians_S: file -> median conductance, S.

    Raises:
        DataError: they lie too far apart.
    """
    low, high = min(medians_S, key=medians_S.__getitem__), max(medians_S, key=medians_S.__getitem__)
    factor = medians_S[high] / medians_S[low]
    if factor > FACTOR_BETWEEN_FILES:
        raise DataError(
            f"the median conductance is {medians_S[high]:.3g} S in {high} and {medians_S[low]:.3g} S in {low}, a "
            f"factor of {factor:,.0f}; expected files of one device. Is a unit wrong in one of the headers?"
        )
