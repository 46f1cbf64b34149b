"""`fit_device`: a lab's CSV files -> a hardware spec, with the errors of its figures."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from hrat.errors import DataError
from hrat.measurements.cleaning import Cleaning, check_scales_agree, cleaned
from hrat.measurements.reading import Floats, Progress, read_table
from hrat.measurements.result import DeviceFit, MeasuredRetention
from hrat.measurements.retention_fit import RetentionFit, fit_retention
from hrat.measurements.statistics import Parameter, rounded
from hrat.measurements.sweep_fit import SweepFit, fit_sweeps
from hrat.measurements.sweeps import Readings, readings_in_order
from hrat.measurements.verify_fit import fit_verify
from hrat.names import one_line
from hrat.spec import HardwareSpec, load_spec

__all__ = ["ModelName", "fit_device"]

ModelName = Literal["auto", "soft_bounds", "linear_step", "jump_table"]

FILES_NAMED = 20
"""Files that a source or a description names."""

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
    """Fit a device to what a lab has measured of it.

    Each file is a pulse sweep, a retention record or a write-verify record; its header says which, and names the units
    (docs/device.md). Several files of one kind are several devices of one type.

    Args:
        paths: one CSV file or several.
        base: what is not measured: a preset, a TOML file or a spec.
        model: what a pulse does: `soft_bounds`, `linear_step`, `jump_table`, or `auto`: equal steps where the steps do
            not shrink, a table where the exponential is clearly off, else the exponential.
        name: of the spec; that of the first file unless given.
        accept_poor: turn the reasons for which a fit is refused into warnings.
        progress: called with what is being done, and how much of it is done, 0 to 1.

    Raises:
        DataError: a file that cannot be understood, or a fit that is not to be trusted, each with its reason.
        SpecError: the base is unknown, or contradicts what was measured.
        OSError: a file cannot be read.
    """
    *names, last = get_args(ModelName)
    if model not in (*names, last):
        raise DataError(f"model: expected {', '.join(names)} or {last}, got {model!r}")
    files = [Path(paths)] if isinstance(paths, (str, os.PathLike)) else [Path(path) for path in paths]
    if not files:
        raise DataError("expected at least one CSV file, got none")
    spec = load_spec(base)
    records = _Records.read(files, progress)
    if progress is not None:
        progress("fitting", 0.0)
    fitted = _Fitted(spec, records, model)
    if fitted.poor and not accept_poor:
        reasons = "\n".join(f"- {reason}" for reason in fitted.poor)
        raise DataError(
            f"the fit is not to be trusted, and is refused:\n{reasons}\nMend the data, choose another model, or "
            "accept it as it is (accept_poor=True, --accept-poor)"
        )
    if progress is not None:
        progress("fitting", 1.0)
    return fitted.result(name or one_line(files[0].stem), [one_line(path.name) for path in files])


class _Records:
    """All files, cleaned, by kind."""

    def __init__(self) -> None:
        self.sweeps: list[Readings] = []
        self.retention: list[dict[str, Floats]] = []
        self.verify: list[dict[str, Floats]] = []
        self.reports: list[Cleaning] = []

    @classmethod
    def read(cls, files: list[Path], progress: Progress | None) -> _Records:
        records, medians_S = cls(), {}
        for path in files:
            table = read_table(path, progress)
            columns, report = cleaned(table)
            records.reports.append(report)
            g_S = columns["achieved" if report.kind == "write-verify" else "conductance"]
            medians_S[report.file] = float(np.median(g_S[:: max(len(g_S) // 100_000, 1)]))
            if report.kind == "pulse sweep":
                if progress is not None:
                    progress(f"putting {report.file} in order", 0.0)
                records.sweeps.append(readings_in_order(columns, report))
            else:
                (records.retention if report.kind == "retention" else records.verify).append(columns)
        check_scales_agree(medians_S)
        return records


class _Fitted:
    """All fits, and what they change in the spec."""

    def __init__(self, spec: HardwareSpec, records: _Records, model: ModelName) -> None:
        self.base, self.reports = spec, records.reports
        self.parameters: list[Parameter] = []
        self.choices: dict[str, tuple[Any, str]] = {}
        """Fields that were chosen, not fitted: value and reason."""
        self.warnings: list[str] = []
        self.poor: list[str] = []
        self.sweep: SweepFit | None = None
        self.aged: RetentionFit | None = None
        window_S = (spec.device.g_min_S, spec.device.g_max_S)
        read_noise = spec.device.read_noise_rel
        if records.sweeps:
            self.sweep = fit_sweeps(records.sweeps, model)
            self._take(self.sweep)
            self.choices |= self.sweep.choices
            window_S = (self.sweep.window.low_S, self.sweep.window.high_S)
            read_noise = self.sweep.read_noise_rel
        elif records.verify:
            targets = np.concatenate([columns["target"] for columns in records.verify])
            window_S = (float(targets.min()), float(targets.max()))
            if window_S[0] == window_S[1]:
                raise DataError("write-verify: all targets are equal; without a pulse sweep the window cannot be told")
            self._window_of(window_S, "the outermost targets of the write-verify records")
        elif records.retention:
            start = np.concatenate([columns["conductance"] for columns in records.retention])
            low, high = np.quantile(start, [0.02, 0.98])
            window_S = (float(low), float(high))
            self._window_of(window_S, "2 and 98 % of the conductances in the retention records")
        if records.retention:
            report = self._retention_report()
            self.aged = fit_retention(_joined(records.retention), report, window_S, read_noise)
            self._take(self.aged)
        if records.verify:
            self._take(fit_verify(_joined(records.verify), window_S))

    def _retention_report(self) -> Cleaning:
        """Where the fit counts what it leaves out: in a file's report, or in one of its own for several together."""
        reports = [report for report in self.reports if report.kind == "retention"]
        if len(reports) == 1:
            return reports[0]
        files = " and ".join(report.file for report in reports)
        together = Cleaning(files, "retention, together", sum(report.n_kept for report in reports))
        self.reports.append(together)
        return together

    def _take(self, part: Any) -> None:
        self.parameters += part.parameters
        self.warnings += part.notes
        self.poor += part.poor

    def _window_of(self, window_S: tuple[float, float], reason: str) -> None:
        self.choices |= {
            "device.g_min_S": (window_S[0], f"no pulse sweep was given: {reason}"),
            "device.g_max_S": (window_S[1], f"no pulse sweep was given: {reason}"),
        }
        self.warnings.append(f"no pulse sweep was given; the window is that of {reason}")

    def result(self, name: str, files: list[str]) -> DeviceFit:
        """The spec with everything in it that was found, and where it came from."""
        given = _listed(files)
        changes: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for part in self.parameters:
            changes[part.field] = _rounded(part.value)
            figures = part.text() if np.any(np.concatenate([np.ravel(part.error), [0.0]])) else ""
            sources[part.field] = "; ".join(
                filter(None, [f"fitted to {self._files(part.field, given)}", part.basis, figures])
            )
        for key, (value, reason) in self.choices.items():
            changes[key] = value
            sources[key] = f"{self._files(key, given)}: {reason}"
        changes |= {
            "name": name,
            "device.name": name,
            "description": f"Fitted to {given}; what they do not tell is that of {self.base.name}.",
        }
        changes |= self._retired_base(changes)
        spec = self.base.replace({**changes, "sources": sources})
        rows = [report.n_rows - report.n_kept for report in self.reports]
        if sum(rows):
            self.warnings.append(f"{sum(rows):,} rows were left out; the cleaning report says why")
        return DeviceFit(
            spec=spec,
            base=self.base.name,
            parameters=tuple(self.parameters),
            residuals=() if self.sweep is None else tuple(self.sweep.residuals),
            cleaning=tuple(self.reports),
            warnings=tuple([f"accepted although {reason}" for reason in self.poor] + self.warnings),
            curves=() if self.sweep is None else tuple(self.sweep.curves),
            retention=None if self.aged is None or not self.aged.times_s else MeasuredRetention(
                self.aged.times_s, self.aged.mean_S, self.aged.spread_S
            ),
        )  # fmt: skip

    def _files(self, field: str, given: str) -> str:
        """The files that tell of a field."""
        section = field.partition(".")[0]
        kind = {"retention": "retention", "programming": "write-verify"}.get(section, "pulse sweep")
        return _listed([report.file for report in self.reports if report.kind == kind]) or given

    def _retired_base(self, changes: dict[str, Any]) -> dict[str, Any]:
        """What of the base must give way: its retention where one was measured, its states where the window moved."""
        retired: dict[str, Any] = {}
        if self.aged is not None and self.aged.parameters:
            for key, value in type(self.base.retention)().model_dump().items():
                field = f"retention.{key}"
                if key.startswith(("relax_", "drift_", "activation_")) and field not in changes:
                    retired[field] = value
        if "device.g_min_S" in changes and self.base.device.levels_S is not None:
            retired["device.weight_bits"] = 4
            self.warnings.append("the base's list of states belongs to another window; 16 even states stand in for it")
        return retired


def _listed(files: list[str]) -> str:
    more = len(files) - FILES_NAMED
    return ", ".join(files[:FILES_NAMED]) + (f" and {more} more" if more > 0 else "")


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_rounded(part) for part in value)
    return rounded(value) if isinstance(value, float) else value


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
