"""Sweeps of one direction put together, for pictures."""

from __future__ import annotations

import numpy as np

from hrat.measurements.fit.result import MeasuredCurve
from hrat.measurements.fit.sweeps.steps import Steps
from hrat.measurements.fit.sweeps.sweep_result import NAMES

__all__ = ["measured_curve"]

MOST_DRAWN = 3000
"""Sweeps that are put together at most."""


def measured_curve(up: bool, steps: Steps) -> MeasuredCurve:
    """Mean, tenth and ninetieth percentile over sweeps of equal length or longer, pulse by pulse."""
    n_sweeps = int(steps.sweep[-1]) + 1
    chosen = steps.sweep % (n_sweeps // MOST_DRAWN + 1) == 0
    number, after, before = steps.number[chosen], steps.after_S[chosen], steps.before_S[chosen]
    begins = before[number == 0]
    order = np.argsort(number, kind="stable")
    parts = np.split(after[order], np.flatnonzero(np.diff(number[order])) + 1)
    parts = [begins] + [part for part in parts if len(part) >= 0.3 * len(begins)]
    return MeasuredCurve(
        NAMES[up],
        tuple(float(part.mean()) for part in parts),
        tuple(float(np.quantile(part, 0.1)) for part in parts),
        tuple(float(np.quantile(part, 0.9)) for part in parts),
    )
