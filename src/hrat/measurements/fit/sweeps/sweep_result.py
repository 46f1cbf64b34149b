"""Findings of the fit to pulse sweeps, while they are collected."""

from __future__ import annotations

from dataclasses import dataclass, field

from hrat.measurements.fit.findings import Findings
from hrat.measurements.fit.result import MeasuredCurve, SweepResiduals
from hrat.measurements.fit.sweeps.window import Window

__all__ = ["NAMES", "SweepFit"]

NAMES = {True: "set", False: "reset"}
"""Name of a direction, by whether it raises the conductance."""


@dataclass
class SweepFit:
    """Findings of the fit to pulse sweeps, its residuals, and the data put together for pictures."""

    window: Window
    findings: Findings = field(default_factory=Findings)
    residuals: list[SweepResiduals] = field(default_factory=list)
    curves: list[MeasuredCurve] = field(default_factory=list)
    read_noise_rel: float = 0.0
    """Relative noise of a reading; 0 where none was found."""
