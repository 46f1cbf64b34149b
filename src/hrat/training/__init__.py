"""Fit loop, schedules, checkpoints, data sets."""

from __future__ import annotations

from hrat.training.checkpoint import load_state, load_weights, put_away, save_weights
from hrat.training.data import ArrayDataset, DataSplits, folder_data, load_data, make_loader
from hrat.training.data.arrays import MOST_OF_NUMPY
from hrat.training.data.downloads import cache_folder
from hrat.training.evaluation import accuracy
from hrat.training.fields import settle_fields
from hrat.training.fitting import FitResult, fit
from hrat.training.identity import data_digest, plain
from hrat.training.logs import Display
from hrat.training.one_at_a_time import alone_in
from hrat.training.optimizer import parameter_groups
from hrat.training.options import FitOptions
from hrat.training.processor import bfloat16_instructions, has_bfloat16
from hrat.training.ranks import Ranks, join_ranks, launch, the_ranks

__all__ = [
    "MOST_OF_NUMPY",
    "ArrayDataset",
    "DataSplits",
    "Display",
    "FitOptions",
    "FitResult",
    "Ranks",
    "accuracy",
    "alone_in",
    "bfloat16_instructions",
    "cache_folder",
    "data_digest",
    "fit",
    "folder_data",
    "has_bfloat16",
    "join_ranks",
    "launch",
    "load_data",
    "load_state",
    "load_weights",
    "make_loader",
    "parameter_groups",
    "plain",
    "put_away",
    "save_weights",
    "settle_fields",
    "the_ranks",
]
