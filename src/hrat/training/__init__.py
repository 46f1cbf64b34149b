"""Fit loop, schedules, checkpoints, data sets."""

from __future__ import annotations

from hrat.training.checkpoint import load_weights
from hrat.training.data import ArrayDataset, DataSplits, folder_data, load_data, make_loader
from hrat.training.fit import FitResult, accuracy, fit
from hrat.training.optimizer import parameter_groups
from hrat.training.options import FitOptions

__all__ = [
    "ArrayDataset",
    "DataSplits",
    "FitOptions",
    "FitResult",
    "accuracy",
    "fit",
    "folder_data",
    "load_data",
    "load_weights",
    "make_loader",
    "parameter_groups",
]
