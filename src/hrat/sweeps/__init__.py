"""Many experiments: lists of trials, in processes or on a cluster, cached by their inputs; grids and searches."""

from __future__ import annotations

from hrat.sweeps.axes import Axis, parse_axis
from hrat.sweeps.reproduce import reproduce
from hrat.sweeps.run import run_trials
from hrat.sweeps.sweep import sweep
from hrat.sweeps.trial import Trial

__all__ = ["Axis", "Trial", "parse_axis", "reproduce", "run_trials", "sweep"]
