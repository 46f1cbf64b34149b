"""Fit loop, schedules, checkpoints, data sets."""

from __future__ import annotations

from hrat.training.checkpoint import load_weights
from hrat.training.data import ArrayDataset, DataSplits, folder_data, load_data, make_loader
from hrat.training.evaluation import accuracy
from hrat.training.fitting import FitResult, fit
from hrat.training.one_at_a_time import alone_in
from hrat.training.optimizer import parameter_groups
from hrat.training.options import FitOptions
from hrat.training.ranks import Ranks, join_ranks, launch, the_ranks

__all__ = [
    "ArrayDataset",
    "DataSplits",
    "FitOptions",
    "FitResult",
    "Ranks",
    "accuracy",
    "alone_in",
    "fit",
    "folder_data",
    "join_ranks",
    "launch",
    "load_data",
    "load_weights",
    "make_loader",
    "parameter_groups",
    "the_ranks",
]
