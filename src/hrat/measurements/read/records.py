"""All files of a fit, read, cleaned and sorted by kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hrat.measurements.read.arrays import Floats
from hrat.measurements.read.cleaning import Cleaning, check_scales_agree, cleaned
from hrat.measurements.read.csv_table import Progress, read_table
from hrat.measurements.read.retention_readings import RetentionReadings, retention_readings_in_order
from hrat.measurements.read.sweep_readings import SweepReadings, joined_sweeps, sweep_readings_in_order

__all__ = ["Records", "read_records"]


@dataclass
class Records:
    """Cleaned measurements by kind; retention and write-verify records as columns, role -> values `(n,)`."""

    sweep_files: list[SweepReadings] = field(default_factory=list)
    retention_files: list[dict[str, Floats]] = field(default_factory=list)
    verify_files: list[dict[str, Floats]] = field(default_factory=list)
    reports: list[Cleaning] = field(default_factory=list)
    """Cleaning report of each file."""

    def sweeps(self) -> SweepReadings:
        """Readings of all pulse sweeps; the devices of each file are different ones."""
        return joined_sweeps(self.sweep_files)

    def retention(self) -> RetentionReadings:
        """Readings of all retention records, in the order of time; the reports say what was left out.

        Raises:
            DataError: no device was read more than once.
        """
        reports = [report for report in self.reports if report.kind == "retention"]
        if len(reports) > 1:
            files = " and ".join(report.file for report in reports)
            reports = [Cleaning(files, "retention, together", sum(report.n_kept for report in reports))]
            self.reports += reports
        return retention_readings_in_order(_joined(self.retention_files), reports[0])

    def verify(self) -> dict[str, Floats]:
        """Columns of all write-verify records."""
        return _joined(self.verify_files)


def read_records(files: list[Path], progress: Progress | None) -> Records:
    """Read files of any kind.

    Args:
        files: CSV files, each a pulse sweep, a retention record or a write-verify record.
        progress: called with what is being done, and how much of it is done, 0 to 1.

    Raises:
        DataError: a file that cannot be understood, or files that are not of one device.
        OSError: a file cannot be read.
    """
    records, medians_S = Records(), {}
    for path in files:
        table = read_table(path, progress)
        columns, report = cleaned(table)
        records.reports.append(report)
        g_S = columns["achieved" if report.kind == "write-verify" else "conductance"]
        medians_S[report.file] = float(np.median(g_S[:: max(len(g_S) // 100_000, 1)]))
        if report.kind == "pulse sweep":
            if progress is not None:
                progress(f"putting {report.file} in order", 0.0)
            records.sweep_files.append(sweep_readings_in_order(columns, report))
        else:
            (records.retention_files if report.kind == "retention" else records.verify_files).append(columns)
    check_scales_agree(medians_S)
    return records


def _joined(parts: list[dict[str, Floats]]) -> dict[str, Floats]:
    """Rows of several files; their devices are different ones, and columns that some lack are left out."""
    shared = set(parts[0]).intersection(*parts[1:])
    out = {role: np.concatenate([part[role] for part in parts]) for role in shared if role != "device"}
    devices, first = [], 0.0
    for part in parts:
        device = part.get("device", np.zeros(len(next(iter(part.values())))))
        devices.append(device + first)
        first = float(devices[-1].max()) + 1
    return out | {"device": np.concatenate(devices)}
