"""From a lab's CSV files to a hardware spec: reading, cleaning, fitting, with errors and a report.

`fit_device` is the door. Needs neither a network nor a chip; what it returns is a spec like any other.
"""

from __future__ import annotations

from hrat.measurements.example import example_csv, example_truth
from hrat.measurements.fit import fit_device
from hrat.measurements.result import DeviceFit, MeasuredCurve, MeasuredRetention, SweepResiduals
from hrat.measurements.statistics import Parameter

__all__ = [
    "DeviceFit",
    "MeasuredCurve",
    "MeasuredRetention",
    "Parameter",
    "SweepResiduals",
    "example_csv",
    "example_truth",
    "fit_device",
]
