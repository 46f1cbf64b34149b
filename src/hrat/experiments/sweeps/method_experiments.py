"""`reproduce`: the method's experiments, every restriction alone and all together, over what hardware may differ in.

A part is a list of conditions of the hardware, and each of them is met by every method: the network in floating point,
plain training and merging, variation-aware training, HRAT, and HRAT without each of its two parts. All have the same
network, data, epochs and chips.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hrat.artifacts import SweepTable
from hrat.errors import HratError
from hrat.experiments.recipes import METHODS, Recipe, load_recipe
from hrat.experiments.sweeps.trial import Trial
from hrat.experiments.sweeps.trial_list import run_trials
from hrat.files import path_within, write_atomic
from hrat.reports import draw_beside, experiment_page, sweep_figure
from hrat.seeds import check_seed
from hrat.spec import HardwareSpec, load_spec
from hrat.training import load_data

__all__ = ["EXPERIMENTS", "PARTS", "Experiment", "reproduce"]


@dataclass(frozen=True)
class Experiment:
    """A network of the method's publication, and its data."""

    recipe: str
    short: str
    """The recipe that takes minutes on a CPU."""


EXPERIMENTS = {
    "fc4": Experiment("fc4-mnist", "fc4-mnist5k"),
    "lenet5": Experiment("lenet5-mnist", "lenet5-mnist5k"),
    "vgg16": Experiment("vgg16-cifar10", "vgg16-cifar10-short"),
}

ALONE = ("states", "error", "read_voltage", "swing", "bias_dac", "input_dac")

PARTS: dict[str, tuple[Any, ...]] = {
    "restriction": (*ALONE, "all"),
    "weight_bits": (2, 3, 4, 5, 6),
    "sigma_rel": (0.0, 0.02, 0.05, 0.1, 0.15, 0.2),
    "v_read_V": (0.05, 0.1, 0.2, 0.3, 0.5),
    "v_swing_V": (0.25, 0.5, 1.0, 2.0, 4.0),
    "bias_dac_bits": (2, 3, 4, 6, 8),
    "input_dac_bits": (2, 3, 4, 6, 8),
}
"""Axis of each part: restrictions one by one, or a number of the spec with all restrictions on."""


def reproduce(
    experiment: str,
    folder: str | os.PathLike[str],
    *,
    parts: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    spec: HardwareSpec | str | None = None,
    short: bool = False,
    epochs: int | None = None,
    seeds: Sequence[int] = (0,),
    chips: int | None = None,
    workers: int = 1,
    ray: str | None = None,
    command: str = "",
    progress: bool = True,
) -> dict[str, SweepTable]:
    """Run an experiment, or parts of it; what is known already is not done again.

    Args:
        experiment: a key of `EXPERIMENTS`.
        folder: `EXPERIMENT.md` with the tables, a picture and a table (JSON, CSV) for each part, and the trials.
        parts: keys of `PARTS`; all by default.
        methods: keys of `hrat.experiments.METHODS`; all by default.
        spec: the hardware, in place of the recipe's.
        short: the form that takes minutes on a CPU.
        epochs: epochs of training, in place of the recipe's.
        seeds: seeds of training.
        chips: number of chips, in place of the recipe's.
        workers: processes.
        ray: address of a Ray cluster, in place of processes.
        command: for the page: what made it.
        progress: show progress bars.

    Returns:
        The table of each part.

    Raises:
        HratError: an unknown name, or trials that failed (with the others kept).
    """
    seeds = [check_seed(seed, "seeds") for seed in seeds]
    for what, names, known in (
        ("experiment", [experiment], EXPERIMENTS),
        ("part", parts or (), PARTS),
        ("method", methods or (), METHODS),
    ):
        unknown = [name for name in names if name not in known]
        if unknown:
            raise HratError(f"unknown {what} {unknown[0]!r}; expected one of {', '.join(known)}")
    chosen = EXPERIMENTS[experiment]
    recipe = load_recipe(chosen.short if short else chosen.recipe)
    if epochs is not None:
        recipe = recipe.with_fit(epochs=epochs)
    hardware = load_spec(recipe.spec if spec is None else spec)
    keys = [key for key in METHODS if methods is None or key in methods]
    started = time.monotonic()
    tables = {
        part: _part(part, recipe, hardware, keys, seeds, chips, Path(folder), workers, ray, progress)
        for part in (PARTS if parts is None else parts)
    }
    page = experiment_page(
        experiment,
        tables,
        labels={key: METHODS[key].label for key in keys},
        epochs=recipe.fit.epochs,
        chips=recipe.chips if chips is None else chips,
        seeds=list(seeds),
        command=command,
        seconds=sum(row.get("seconds", 0.0) for row in _once(tables)),
        wall_seconds=time.monotonic() - started,
    )
    write_atomic(path_within(folder, experiment, suffix=".md"), page)
    failed = [row for table in tables.values() for row in table.failed]
    if failed:
        raise HratError(
            f"{len(failed)} trials failed, the first with: {failed[0]['error']}\nThe others are kept; the same command "
            "tries the failed ones again"
        )
    return tables


def _once(tables: dict[str, SweepTable]) -> list[dict[str, Any]]:
    """Each result once, in however many parts it stands."""
    return list({row["key"]: row for table in tables.values() for row in table.rows}.values())


def _part(
    part: str,
    recipe: Recipe,
    spec: HardwareSpec,
    methods: list[str],
    seeds: Sequence[int],
    chips: int | None,
    folder: Path,
    workers: int,
    ray: str | None,
    progress: bool,
) -> SweepTable:
    points = [
        {part: value, "method": method, "seed": seed} for value in PARTS[part] for method in methods for seed in seeds
    ]
    trials = [
        Trial(
            recipe=recipe,
            spec=_under(spec, part, point[part]),
            method=str(point["method"]),
            seed=int(str(point["seed"])),
            chips=chips,
        )
        for point in points
    ]
    results = run_trials(trials, folder, workers=workers, ray=ray, progress=progress, title=part)
    table = SweepTable(
        recipe=recipe.name,
        data=recipe.data,
        spec=spec.name,
        varied=(part, "method", "seed"),
        search="grid",
        held_out=0,
        n_test=len(load_data(recipe.data).test),
        rows=tuple(
            {**point, **result, "key": trial.key} for point, trial, result in zip(points, trials, results, strict=True)
        ),
    )
    table.save(path_within(folder, part, suffix=".json"))
    table.save(path_within(folder, part, suffix=".csv"))
    if table.done:
        draw_beside(partial(sweep_figure, table), path_within(folder, part, suffix=".png"))
    return table


def _under(spec: HardwareSpec, part: str, value: Any) -> HardwareSpec:
    """The hardware of a condition."""
    if part == "restriction":
        return spec if value == "all" else spec.only(value)
    return spec.replace({part: value})
