"""`sweep`: a parameter sweep, a grid or a search over fields of the spec and training options."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from hrat.artifacts import SweepTable
from hrat.errors import HratError
from hrat.experiments.recipes import Recipe, load_recipe
from hrat.experiments.sweeps.axes import Axis, Point, changed, grid, parse_axis, random_points
from hrat.experiments.sweeps.bayesian_search import BayesianSearch
from hrat.experiments.sweeps.trial import Trial
from hrat.experiments.sweeps.trial_list import run_trials
from hrat.files import path_within
from hrat.reports import draw_beside, sweep_figure
from hrat.seeds import check_seed
from hrat.spec import HardwareSpec, load_spec
from hrat.training import MOST_OF_NUMPY, load_data

__all__ = ["Search", "sweep"]

Search = Literal["grid", "random", "bayes"]

PART_HELD_OUT = 0.1
"""Part of the training images on which a search chooses."""
MOST_HELD_OUT = 5000
PROPOSED_AT_ONCE = 4
"""Points of a Bayesian search that are proposed before their results are known; not the number of workers, so that a
search is the same with any."""
MOST_CORNERS = 256
"""Combinations of ends of ranges that are looked at before a Bayesian search."""


def sweep(
    recipe: Recipe | str | Path,
    axes: Sequence[Axis | str],
    folder: str | os.PathLike[str],
    *,
    spec: HardwareSpec | str | None = None,
    method: str = "hrat",
    search: Search = "grid",
    trials: int = 20,
    seeds: Sequence[int] = (0,),
    chips: int | None = None,
    held_out: int | None = None,
    workers: int = 1,
    ray: str | None = None,
    search_seed: int = 0,
    progress: bool = True,
) -> SweepTable:
    """Train and test the recipe's network at many points, and write a table and a picture of the results.

    Results that the folder holds already, from this sweep or another one, are not computed again.

    Args:
        recipe: a recipe, its name, or a TOML file.
        axes: what to vary, see `parse_axis`.
        folder: `trials.json`, `trials.csv`, `trials.parquet`, `sweep.png`, and what `run_trials` keeps.
        spec: the hardware, in place of the recipe's.
        method: the training method, unless it is varied.
        search: `grid`, every combination; `random`, points drawn evenly; `bayes`, points proposed
            by earlier results.
        trials: points of a search.
        seeds: seeds of training; each point is run with each of them, and a Bayesian search looks at their mean.
        chips: chips to test on, in place of the recipe's number.
        held_out: training images held out for choices; for a search a tenth, up to 5,000, unless given.
        workers: processes.
        ray: address of a Ray cluster, in place of processes.
        search_seed: seed of the points.
        progress: show progress bars.

    Returns:
        The table, a row for each trial in the order of the points.

    Raises:
        HratError: an axis that cannot be read, invalid values (before anything is trained), or nothing to do.
    """
    recipe = load_recipe(recipe)
    chosen = load_spec(recipe.spec if spec is None else spec)
    varied = [parse_axis(axis) if isinstance(axis, str) else axis for axis in axes]
    if not varied:
        raise HratError("expected something to vary, such as weight_bits=2,3,4")
    twice = [axis.name for k, axis in enumerate(varied) if axis.name in [other.name for other in varied[:k]]]
    if twice:
        raise HratError(f"'{twice[0]}' is varied twice; give all its values at once")
    if search not in ("grid", "random", "bayes"):
        raise HratError(f"unknown search {search!r}; expected grid, random or bayes")
    if trials < 1 or not seeds:
        raise HratError(f"expected 1 trial and 1 seed or more, got {trials} and {len(seeds)}")
    seeds = [check_seed(seed, "seeds") for seed in seeds]
    search_seed = check_seed(search_seed, "search_seed", most=MOST_OF_NUMPY)
    data = load_data(recipe.data)
    if held_out is None:
        held_out = 0 if search == "grid" else min(MOST_HELD_OUT, int(PART_HELD_OUT * len(data.train)))
    base = Trial(recipe=recipe, spec=chosen, method=method, chips=chips, held_out=held_out)
    job = _Sweep(base, varied, Path(folder), list(seeds), workers, ray, progress, n_test=len(data.test), search=search)
    if search == "bayes":
        search_over = BayesianSearch(varied, search_seed)
        _refuse_ends_that_cannot_be(base, varied)
        for start in range(0, trials, PROPOSED_AT_ONCE):
            search_over.tell(job.scores(search_over.propose(min(PROPOSED_AT_ONCE, trials - start))))
    else:
        points = list(grid(varied) if search == "grid" else random_points(varied, trials, search_seed))
        job.scores(points)
    return job.written()


def _refuse_ends_that_cannot_be(base: Trial, axes: Sequence[Axis]) -> None:
    """Refuse a search with an end of a range, or a value, that goes with no end of the others.

    Raises:
        HratError: of such a value.
    """
    ends = [axis.values or (axis.at(0.0), axis.at(1.0)) for axis in axes]
    if math.prod(map(len, ends)) > MOST_CORNERS:
        return  # points that cannot be are then rows that failed
    good: set[tuple[str, int]] = set()
    bad: dict[tuple[str, int], HratError] = {}
    for numbers in itertools.product(*(range(len(values)) for values in ends)):
        picked = [(axis.name, number) for axis, number in zip(axes, numbers, strict=True)]
        try:
            changed(base, {axis.name: values[n] for axis, values, n in zip(axes, ends, numbers, strict=True)})
            good.update(picked)
        except HratError as error:
            bad.update((pick, error) for pick in picked)
    for pick, refusal in bad.items():
        if pick not in good:
            raise refusal


@dataclass
class _Sweep:
    base: Trial
    axes: list[Axis]
    folder: Path
    seeds: list[int]
    workers: int
    ray: str | None
    progress: bool
    n_test: int
    search: Search
    rows: list[dict[str, Any]] = field(default_factory=list)

    def scores(self, points: list[Point]) -> list[float]:
        """Do the trials of the points; the mean score of each over the seeds, not a number where one failed."""
        every = [point if "seed" in point else {**point, "seed": seed} for point in points for seed in self._seeds]
        trials, refused = self._trials(every)  # all of them, before the first one is trained
        results = run_trials(
            list(trials.values()),
            self.folder,
            workers=self.workers,
            ray=self.ray,
            progress=self.progress,
            title=self.search,
        )
        row_by_number = {
            n: {**result, "key": trials[n].key} for n, result in zip(trials, results, strict=True)
        } | refused
        first = len(self.rows)
        self.rows.extend({**point, **row_by_number[number]} for number, point in enumerate(every))
        self.written()
        of_point = len(every) // len(points)
        column = "val_mean" if self.base.held_out else "mean"
        scores = [row.get(column, math.nan) for row in self.rows[first:]]
        return [math.fsum(scores[k : k + of_point]) / of_point for k in range(0, len(scores), of_point)]

    def _trials(self, points: list[Point]) -> tuple[dict[int, Trial], dict[int, dict[str, Any]]]:
        """The trial of each point by its number, and rows for points whose values contradict each other.

        Those of a Bayesian search alone, which cannot be asked beforehand.

        Raises:
            HratError: there is such a point in a grid or random search.
        """
        trials: dict[int, Trial] = {}
        refused: dict[int, dict[str, Any]] = {}
        for number, point in enumerate(points):
            try:
                trials[number] = changed(self.base, point)
            except HratError as error:
                if self.search != "bayes":
                    raise
                refused[number] = {"status": "failed", "error": str(error), "cached": False, "key": ""}
        return trials, refused

    @property
    def _seeds(self) -> list[int]:
        return [0] if any(axis.name == "seed" for axis in self.axes) else self.seeds

    def written(self) -> SweepTable:
        """The table so far, in files."""
        names = [axis.name for axis in self.axes]
        table = SweepTable(
            recipe=self.base.recipe.name,
            data=self.base.recipe.data,
            spec=self.base.spec.name,
            varied=tuple(names if "seed" in names else [*names, "seed"]),
            search=self.search,
            held_out=self.base.held_out,
            n_test=self.n_test,
            rows=tuple(self.rows),
        )
        for name in ("trials.json", "trials.csv", "trials.parquet"):
            table.save(path_within(self.folder, name))
        if table.done:
            draw_beside(partial(sweep_figure, table), path_within(self.folder, "sweep.png"))
        return table
