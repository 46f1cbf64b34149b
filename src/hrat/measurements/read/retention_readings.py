"""Retention records: readings of each device in the order of time, beside the state in which it was programmed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hrat.errors import DataError
from hrat.measurements.read.arrays import Floats, Ints
from hrat.measurements.read.cleaning import Cleaning

__all__ = ["RetentionReadings", "retention_readings_in_order"]


@dataclass(frozen=True)
class RetentionReadings:
    """Readings after the first one of each device; each array `(n,)`."""

    device: Ints
    start_S: Floats
    """First reading of the device, S."""
    t_s: Floats
    g_S: Floats
    inverse_K: Floats
    """1 / T_ref - 1 / T, zero where no temperature is known."""
    n_devices: int
    reference_K: float | None
    """Most frequent temperature; None where the records name none."""


@dataclass(frozen=True)
class _Rows:
    """Rows of the records; each array `(n,)`."""

    device: Ints
    t_s: Floats
    g_S: Floats
    temperature_K: Floats

    def __getitem__(self, some: Any) -> _Rows:
        """Rows by a mask or by their places."""
        return _Rows(self.device[some], self.t_s[some], self.g_S[some], self.temperature_K[some])


def retention_readings_in_order(columns: dict[str, Floats], report: Cleaning) -> RetentionReadings:
    """Cleaned rows of retention records, sorted, with the first reading of a device as its programmed state.

    Args:
        columns: role -> values.
        report: is told what was put in order or left out.

    Raises:
        DataError: no device was read more than once.
    """
    reference_K = _reference_K(columns)
    rows = _sorted_rows(columns, report, reference_K)
    first = np.concatenate([[True], np.diff(rows.device) != 0])
    start = np.flatnonzero(first)[np.cumsum(first) - 1]
    later = ~first
    report.drop("the device was read only once", int((np.bincount(np.cumsum(first) - 1) == 1).sum()))
    if not later.any():
        raise DataError(f"{report.file}: every device was read only once; expected readings at several times")
    if (rows.t_s[first] > 0).mean() > 0.5:
        report.notes.append(
            f"the first readings are {np.median(rows.t_s[first]):.3g} s after programming; what happened before is "
            "unknown"
        )
    _, numbered = np.unique(rows.device[later], return_inverse=True)
    return RetentionReadings(
        device=numbered.astype(np.int64),
        start_S=rows.g_S[start][later],
        t_s=rows.t_s[later],
        g_S=rows.g_S[later],
        inverse_K=1 / reference_K - 1 / rows.temperature_K[later] if reference_K else np.zeros(int(later.sum())),
        n_devices=int(numbered.max()) + 1,
        reference_K=reference_K,
    )


def _reference_K(columns: dict[str, Floats]) -> float | None:
    if "temperature" not in columns:
        return None
    temperatures_K, counts = np.unique(np.round(columns["temperature"], 1), return_counts=True)
    return float(temperatures_K[counts.argmax()])


def _sorted_rows(columns: dict[str, Floats], report: Cleaning, reference_K: float | None) -> _Rows:
    """The rows by device and time, readings at equal times averaged."""
    g_S = columns["conductance"]
    temperature_K = columns.get("temperature", np.full(len(g_S), reference_K or 1.0))
    rows = _Rows(columns["device"].astype(np.int64), columns["time"], g_S, temperature_K)
    if (rows.t_s < 0).any():
        report.drop("the time is negative", int((rows.t_s < 0).sum()))
        rows = rows[rows.t_s >= 0]
    # A device that is kept at two temperatures, one after the other, would be two experiments: it counts as two.
    _, kelvin = np.unique(np.round(rows.temperature_K, 1), return_inverse=True)
    rows = replace(rows, device=rows.device * (int(kelvin.max(initial=0)) + 1) + kelvin)
    if ((np.diff(rows.t_s) < 0) & (np.diff(rows.device) == 0)).any():
        report.notes.append("times do not always ascend; the rows of each device were sorted by time")
    rows = rows[np.lexsort((rows.t_s, rows.device))]
    same = np.concatenate([[False], (np.diff(rows.device) == 0) & (np.diff(rows.t_s) == 0)])
    if not same.any():
        return rows
    report.notes.append(f"{int(same.sum()):,} rows repeat the time of a device; the mean was taken")
    group = np.cumsum(~same) - 1
    return replace(rows[~same], g_S=np.bincount(group, rows.g_S) / np.bincount(group))
