"""Result of a device fit: the spec, its figures with standard errors, and how well they describe the data."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hrat.measurements.fit.findings import Parameter
from hrat.measurements.read import Cleaning
from hrat.spec import Device, HardwareSpec

__all__ = ["DeviceFit", "MeasuredCurve", "MeasuredRetention", "SweepResiduals"]


@dataclass(frozen=True)
class SweepResiduals:
    """Distance of the model from each pulse sweep of one direction, started at the same conductance."""

    direction: str
    """`set` or `reset`."""
    rms_S: tuple[float, ...]
    """Root mean square of data minus model for each sweep, S."""
    r_squared: tuple[float, ...]
    """Coefficient of determination of each sweep; not a number for two points or fewer."""

    @property
    def median_rms_S(self) -> float:
        """Median over sweeps of the root-mean-square distance, S."""
        return float(np.median(self.rms_S))

    @property
    def median_r_squared(self) -> float:
        """Median over sweeps of R^2; not a number where all of them are too short."""
        finite = [value for value in self.r_squared if value == value]
        return float(np.median(finite)) if finite else float("nan")


@dataclass(frozen=True)
class MeasuredCurve:
    """Pulse sweeps of one direction put together, for pictures: conductances after 0, 1, 2, ... pulses, S."""

    direction: str
    mean_S: tuple[float, ...]
    low_S: tuple[float, ...]
    """Tenth percentile over sweeps, S."""
    high_S: tuple[float, ...]
    """Ninetieth percentile over sweeps, S."""


@dataclass(frozen=True)
class MeasuredRetention:
    """Retention records put together, for pictures."""

    times_s: tuple[float, ...]
    mean_S: tuple[float, ...]
    """Mean change since programming, S."""
    spread_S: tuple[float, ...]
    """Standard deviation of the change over devices, S."""


@dataclass(frozen=True, kw_only=True)
class DeviceFit:
    """Result of fitting a device: spec, fitted figures and residuals."""

    spec: HardwareSpec
    """The whole hardware: fitted values, and those of the base for all else."""
    base: str
    """The preset that gave the rest."""
    parameters: tuple[Parameter, ...]
    """Fitted figures."""
    residuals: tuple[SweepResiduals, ...] = ()
    """Residuals by direction; empty for `jump_table`, which has no curve to be off from, and without sweeps."""
    cleaning: tuple[Cleaning, ...] = ()
    """Cleaning report of each file."""
    warnings: tuple[str, ...] = ()
    """Warnings before the device fit is used; accepted poor fits are among them."""
    curves: tuple[MeasuredCurve, ...] = field(default=(), repr=False)
    retention: MeasuredRetention | None = field(default=None, repr=False)

    @property
    def device(self) -> Device:
        """The section `device` of the spec."""
        return self.spec.device

    def parameter(self, name: str) -> Parameter:
        """A fitted figure by its field, `soft_bounds.n_set` or `n_set`.

        Raises:
            KeyError: it was not fitted.
        """
        for parameter in self.parameters:
            if name in (parameter.field, parameter.field.partition(".")[2]):
                return parameter
        raise KeyError(f"{name} was not fitted; fitted were {', '.join(part.field for part in self.parameters)}")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the spec as a TOML file, which `hrat.load_spec(path)` and `--spec` read as any preset.

        Raises:
            OSError: the folder cannot be written, or the disk is full.
        """
        return self.spec.save(path)

    def __str__(self) -> str:
        lines = [f"{self.spec.name}: {self.spec.description}"]
        lines += [f"  {parameter}" for parameter in self.parameters]
        for part in self.residuals:
            lines.append(
                f"  {part.direction} sweeps: {len(part.rms_S)}, median rms {part.median_rms_S * 1e6:.3g} uS, median "
                f"R^2 {part.median_r_squared:.4f}"
            )
        lines += [f"  {sentence}" for report in self.cleaning for sentence in report.sentences()]
        return "\n".join(lines + [f"  warning: {warning}" for warning in self.warnings])
