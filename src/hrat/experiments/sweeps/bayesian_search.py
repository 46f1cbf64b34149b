"""Bayesian search: which points to try next, given what is known of those tried so far.

Optuna's tree-structured Parzen estimator proposes; results come from the cache or the workers, so that a search that is
stopped and begun again proposes the same points and finds their results there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hrat.errors import MissingDependencyError
from hrat.experiments.sweeps.axes import Axis, Point

__all__ = ["BayesianSearch"]


class BayesianSearch:
    """Proposes points in batches, and is told how good they were."""

    def __init__(self, axes: Sequence[Axis], seed: int) -> None:
        """Prepare a search over the axes.

        Raises:
            MissingDependencyError: Optuna is not installed.
        """
        try:
            import optuna
        except ImportError as error:
            raise MissingDependencyError(
                'Bayesian search needs Optuna, which is not installed; pip install "hrat[sweep]"'
            ) from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # Points of one batch are proposed before any of them is known: the estimator keeps them apart.
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._failed = optuna.trial.TrialState.FAIL
        self._axes = axes
        self._open: list[Any] = []

    def propose(self, count: int) -> list[Point]:
        """The next points."""
        self._open = [self._study.ask() for _ in range(count)]
        return [{axis.name: _suggested(trial, axis) for axis in self._axes} for trial in self._open]

    def tell(self, scores: Sequence[float]) -> None:
        """Take the scores of the points proposed last; not a number for one that failed."""
        for trial, score in zip(self._open, scores, strict=True):
            if math.isnan(score):
                self._study.tell(trial, state=self._failed)
            else:
                self._study.tell(trial, score)


def _suggested(trial: Any, axis: Axis) -> Any:
    if axis.values:
        numbers = trial.suggest_categorical(axis.name, list(range(len(axis.values))))
        return axis.values[numbers]
    if axis.whole:
        return trial.suggest_int(axis.name, int(axis.low), int(axis.high), log=axis.log)
    return float(f"{trial.suggest_float(axis.name, axis.low, axis.high, log=axis.log):.6g}")
