"""From a lab's CSV files to a hardware spec: reading, cleaning, fitting, with errors and a report.

`fit_device` needs neither a network nor a chip; what it returns is a spec like any other. `read` turns files into clean
arrays, `fit` arrays into figures with errors.
"""

from __future__ import annotations

from hrat.measurements.example import EXAMPLES, example_csv, example_truth
from hrat.measurements.fit import (
    DeviceFit,
    MeasuredCurve,
    MeasuredRetention,
    Parameter,
    SweepResiduals,
    fit_device,
)

__all__ = [
    "EXAMPLES",
    "DeviceFit",
    "MeasuredCurve",
    "MeasuredRetention",
    "Parameter",
    "SweepResiduals",
    "example_csv",
    "example_truth",
    "fit_device",
]
