"""One recipe, trained by one method in a folder."""

from __future__ import annotations

from hrat.experiments.running.run_folder import IDENTITY, Run, load_run, run_in
from hrat.experiments.running.training_run import TEST_BATCH, train

__all__ = ["IDENTITY", "TEST_BATCH", "Run", "load_run", "run_in", "train"]
