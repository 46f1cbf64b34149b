"""A lab's CSV files -> a hardware spec, with the errors of its figures."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from hrat.errors import DataError
from hrat.measurements.fit.findings import Findings
from hrat.measurements.fit.result import DeviceFit
from hrat.measurements.fit.retention import RetentionFit, fit_retention
from hrat.measurements.fit.spec_changes import fitted_spec
from hrat.measurements.fit.sweeps import SweepFit, fit_sweeps
from hrat.measurements.fit.write_verify import fit_write_verify
from hrat.measurements.read import Progress, Records, read_records
from hrat.names import one_line
from hrat.spec import HardwareSpec, load_spec

__all__ = ["ModelName", "fit_device"]

ModelName = Literal["auto", "soft_bounds", "linear_step", "jump_table"]

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def fit_device(
    paths: Paths,
    *,
    base: str | os.PathLike[str] | HardwareSpec = "generic-4bit",
    model: ModelName = "auto",
    name: str | None = None,
    accept_poor: bool = False,
    progress: Progress | None = None,
) -> DeviceFit:
    """Fit a device to the CSV files of a lab's measurements.

    Each file is a pulse sweep, a retention record or a write-verify record; its header says which, and names the units
    (docs/device.md). Several files of one kind are several devices of one type.

    Args:
        paths: one CSV file or several.
        base: source of all values that are not measured: a preset, a TOML file or a spec.
        model: pulse model: `soft_bounds`, `linear_step`, `jump_table`, or `auto`: equal steps where the steps do
            not shrink, a table where the exponential is clearly off, else the exponential.
        name: name of the spec; that of the first file unless given.
        accept_poor: turn the reasons for which a fit is refused into warnings.
        progress: called with the current task and the part of it that is done, 0 to 1.

    Raises:
        DataError: a file that cannot be understood, or a device fit that is not to be trusted, each with its reason.
        SpecError: the base is unknown, or contradicts what was measured.
        OSError: a file cannot be read.
    """
    _check_model(model)
    files = [Path(paths)] if isinstance(paths, (str, os.PathLike)) else [Path(path) for path in paths]
    if not files:
        raise DataError("expected at least one CSV file, got none")
    spec = load_spec(base)
    records = read_records(files, progress)
    if progress is not None:
        progress("fitting", 0.0)
    fits = _Fits(spec, records, model)
    if not accept_poor:
        _refuse_poor(fits.findings)
    if progress is not None:
        progress("fitting", 1.0)
    return fits.result(name or one_line(files[0].stem), [one_line(path.name) for path in files])


def _check_model(model: str) -> None:
    *names, last = get_args(ModelName)
    if model not in (*names, last):
        raise DataError(f"model: expected {', '.join(names)} or {last}, got {model!r}")


def _refuse_poor(findings: Findings) -> None:
    if findings.poor:
        reasons = "\n".join(f"- {reason}" for reason in findings.poor)
        raise DataError(
            f"the fit is not to be trusted, and is refused:\n{reasons}\nMend the data, choose another model, or "
            "accept it as it is (accept_poor=True, --accept-poor)"
        )


class _Fits:
    """Fits to all records, one kind after the other: the window comes from the sweeps where there are any."""

    def __init__(self, spec: HardwareSpec, records: Records, model: ModelName) -> None:
        self.base, self.records = spec, records
        self.findings = Findings()
        self.sweep: SweepFit | None = None
        self.aged: RetentionFit | None = None
        read_noise_rel = spec.device.read_noise_rel
        if records.sweep_files:
            self.sweep = fit_sweeps(records.sweeps(), model)
            self.findings.take(self.sweep.findings)
            window_S = (self.sweep.window.low_S, self.sweep.window.high_S)
            read_noise_rel = self.sweep.read_noise_rel
        else:
            window_S = self._window_without_sweeps()
        if records.retention_files:
            self.aged = fit_retention(records.retention(), window_S, read_noise_rel)
            self.findings.take(self.aged.findings)
        if records.verify_files:
            self.findings.take(fit_write_verify(records.verify(), window_S))

    def _window_without_sweeps(self) -> tuple[float, float]:
        """The window of conductances in the other records, S.

        Raises:
            DataError: they show none.
        """
        if self.records.verify_files:
            targets_S = np.concatenate([columns["target"] for columns in self.records.verify_files])
            low_S, high_S = float(targets_S.min()), float(targets_S.max())
            if low_S == high_S:
                raise DataError("write-verify: all targets are equal; without a pulse sweep the window is unknown")
            reason = "the outermost targets of the write-verify records"
        else:
            start_S = np.concatenate([columns["conductance"] for columns in self.records.retention_files])
            low_S, high_S = (float(end_S) for end_S in np.quantile(start_S, [0.02, 0.98]))
            reason = "2 and 98 % of the conductances in the retention records"
        self.findings.choices |= {
            "device.g_min_S": (low_S, f"no pulse sweep was given: {reason}"),
            "device.g_max_S": (high_S, f"no pulse sweep was given: {reason}"),
        }
        self.findings.notes.append(f"no pulse sweep was given; the window is that of {reason}")
        return low_S, high_S

    def result(self, name: str, files: list[str]) -> DeviceFit:
        """The spec with all fitted values, and their sources."""
        findings, reports = self.findings, self.records.reports
        ages = self.aged is not None and bool(self.aged.findings.parameters)
        spec = fitted_spec(self.base, findings, reports, name, files, replaces_retention=ages)
        n_dropped = sum(report.n_rows - report.n_kept for report in reports)
        if n_dropped:
            findings.notes.append(f"{n_dropped:,} rows were left out; the cleaning report says why")
        return DeviceFit(
            spec=spec,
            base=self.base.name,
            parameters=tuple(findings.parameters),
            residuals=() if self.sweep is None else tuple(self.sweep.residuals),
            cleaning=tuple(reports),
            warnings=tuple([f"accepted although {reason}" for reason in findings.poor] + findings.notes),
            curves=() if self.sweep is None else tuple(self.sweep.curves),
            retention=None if self.aged is None else self.aged.measured,
        )
