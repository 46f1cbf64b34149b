"""Spec from findings of a device fit: the fields that change, and the sources of their values."""

from __future__ import annotations

from typing import Any

import numpy as np

from hrat.measurements.fit.findings import Findings, rounded
from hrat.measurements.read import Cleaning
from hrat.spec import HardwareSpec

__all__ = ["fitted_spec"]

FILES_NAMED = 20
"""Files that a source or a description names."""


def fitted_spec(
    base: HardwareSpec,
    findings: Findings,
    reports: list[Cleaning],
    name: str,
    files: list[str],
    *,
    replaces_retention: bool,
) -> HardwareSpec:
    """The base with all fitted values, and their sources.

    Args:
        base: source of all values that are not measured.
        findings: figures and choices; is told what of the base gives way.
        reports: reports of all files, for the sources.
        name: name of the spec and its device.
        files: their names.
        replaces_retention: retention was measured, so that none of the base's is left.

    Raises:
        SpecError: the base contradicts what was measured.
    """
    given = _listed(files)
    changes: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for part in findings.parameters:
        changes[part.field] = _rounded(part.value)
        figures = part.text() if np.any(np.concatenate([np.ravel(part.error), [0.0]])) else ""
        origin = f"fitted to {_files_of(part.field, reports, given)}"
        sources[part.field] = "; ".join(filter(None, [origin, part.basis, figures]))
    for field, (value, reason) in findings.choices.items():
        changes[field] = value
        sources[field] = f"{_files_of(field, reports, given)}: {reason}"
    changes |= {
        "name": name,
        "device.name": name,
        "description": f"Fitted to {given}; what they do not tell is that of {base.name}.",
    }
    if replaces_retention:
        changes |= _retention_defaults(base, changes)
    if "device.g_min_S" in changes and base.device.levels_S is not None:
        changes["device.weight_bits"] = 4
        findings.notes.append("the base's list of states belongs to another window; 16 even states stand in for it")
    return base.replace({**changes, "sources": sources})


def _files_of(field: str, reports: list[Cleaning], given: str) -> str:
    """Files that a field was fitted to; all of them where none is of its kind."""
    section = field.partition(".")[0]
    kind = {"retention": "retention", "programming": "write-verify"}.get(section, "pulse sweep")
    return _listed([report.file for report in reports if report.kind == kind]) or given


def _retention_defaults(base: HardwareSpec, changes: dict[str, Any]) -> dict[str, Any]:
    """Defaults of all figures of retention that were not measured."""
    return {
        f"retention.{key}": value
        for key, value in type(base.retention)().model_dump().items()
        if key.startswith(("relax_", "drift_", "activation_")) and f"retention.{key}" not in changes
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_rounded(part) for part in value)
    return rounded(value) if isinstance(value, float) else value


def _listed(files: list[str]) -> str:
    more = len(files) - FILES_NAMED
    return ", ".join(files[:FILES_NAMED]) + (f" and {more} more" if more > 0 else "")
