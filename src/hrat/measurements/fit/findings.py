"""Findings of a device fit: figures with standard errors, choices, remarks, and reasons not to trust it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Findings", "Parameter", "rounded"]


@dataclass(frozen=True)
class Parameter:
    """A fitted figure of the spec."""

    field: str
    """Name in the spec, `section.field`."""
    value: float | tuple[float, ...] | tuple[tuple[float, ...], ...]
    error: float | tuple[float, ...] | tuple[tuple[float, ...], ...]
    """Standard error of each value; empty for quantiles, and 0 for what was read off and not fitted."""
    unit: str = ""
    basis: str = ""
    """Data that it was fitted to, for the sources of the spec."""

    def text(self) -> str:
        """Value and error for people: `43.2 +- 1.8`, conductances in uS or nS."""
        scale, unit = 1.0, f" {self.unit}" if self.unit else ""
        if self.unit == "S":
            largest = max(np.abs(np.ravel(np.asarray(self.value, dtype=np.float64))), default=0.0)
            scale, unit = (1e6, " uS") if largest >= 1e-7 or largest == 0 else (1e9, " nS")
        if isinstance(self.value, tuple):
            if self.value and isinstance(self.value[0], tuple):
                return f"a table of {len(self.value)} x {len(self.value[0])}"
            errors = self.error if isinstance(self.error, tuple) and len(self.error) == len(self.value) else None
            pairs = zip(self.value, errors or (0.0,) * len(self.value), strict=True)
            return ", ".join(_with_error(v * scale, e * scale) for v, e in pairs) + unit  # type: ignore[operator]
        assert not isinstance(self.error, tuple)
        return _with_error(self.value * scale, self.error * scale) + unit

    def __str__(self) -> str:
        return f"{self.field} = {self.text()}"


def _with_error(value: float, error: float) -> str:
    """Value and error in words, to two digits of the error."""
    if error <= 0 or not math.isfinite(error):
        return f"{value:.6g}"
    digits = max(1 - math.floor(math.log10(error)), 0)
    if digits > 6:
        return f"{value:.4g} +- {error:.2g}"
    return f"{value:.{digits}f} +- {error:.{digits}f}"


def rounded(value: float) -> float:
    """A figure to six digits: more than any error here leaves, and readable in a file."""
    return float(f"{value:.6g}")


@dataclass
class Findings:
    """Findings of one device fit about the spec, and how far they can be trusted."""

    parameters: list[Parameter] = field(default_factory=list)
    """Fitted figures."""
    choices: dict[str, tuple[Any, str]] = field(default_factory=dict)
    """Fields of the spec that were chosen, not fitted: value and reason."""
    notes: list[str] = field(default_factory=list)
    """Remarks, one sentence each."""
    poor: list[str] = field(default_factory=list)
    """Reasons to refuse the device fit."""

    def add(self, name: str, value: Any, error: Any, unit: str, basis: str) -> None:
        """Note a fitted figure, by the fields of `Parameter`."""
        self.parameters.append(Parameter(name, value, error, unit, basis))

    def take(self, other: Findings) -> None:
        """Append the findings of another device fit."""
        self.parameters += other.parameters
        self.choices |= other.choices
        self.notes += other.notes
        self.poor += other.poor
