"""Many experiments: lists of trials, in processes or on a cluster, cached by their inputs; grids and searches."""

from __future__ import annotations

from hrat.experiments.sweeps.axes import Axis, parse_axis
from hrat.experiments.sweeps.method_experiments import reproduce
from hrat.experiments.sweeps.sweeping import sweep
from hrat.experiments.sweeps.trial import Trial
from hrat.experiments.sweeps.trial_list import run_trials

__all__ = ["Axis", "Trial", "parse_axis", "reproduce", "run_trials", "sweep"]
