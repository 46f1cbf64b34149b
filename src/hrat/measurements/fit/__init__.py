"""Clean arrays -> figures of a device with their standard errors, and a hardware spec that holds them."""

from __future__ import annotations

from hrat.measurements.fit.device import ModelName, fit_device
from hrat.measurements.fit.findings import Parameter
from hrat.measurements.fit.result import DeviceFit, MeasuredCurve, MeasuredRetention, SweepResiduals

__all__ = [
    "DeviceFit",
    "MeasuredCurve",
    "MeasuredRetention",
    "ModelName",
    "Parameter",
    "SweepResiduals",
    "fit_device",
]
