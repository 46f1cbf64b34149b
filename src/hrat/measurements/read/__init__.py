"""A lab's CSV files -> clean arrays in SI units, with a report of what was left out and why."""

from __future__ import annotations

from hrat.measurements.read.arrays import Floats, Ints, Mask
from hrat.measurements.read.cleaning import Cleaning
from hrat.measurements.read.csv_table import Progress
from hrat.measurements.read.records import Records, read_records
from hrat.measurements.read.retention_readings import RetentionReadings
from hrat.measurements.read.sweep_readings import FEWEST_STEPS, SweepReadings

__all__ = [
    "FEWEST_STEPS",
    "Cleaning",
    "Floats",
    "Ints",
    "Mask",
    "Progress",
    "Records",
    "RetentionReadings",
    "SweepReadings",
    "read_records",
]
