"""Work of one process: train the network of some trials, and test it on the chips of each of them."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hrat.errors import HratError
from hrat.experiments.recipes import METHODS, Recipe, mapped, trainable
from hrat.experiments.running import IDENTITY, TEST_BATCH, Run, run_in, train
from hrat.experiments.sweeps.trial import Trial
from hrat.mapping import deploy
from hrat.nn import PreparedModel, restrictions
from hrat.programming import program_in_chunks
from hrat.simulation import simulate
from hrat.spec import HardwareSpec
from hrat.training import ArrayDataset, DataSplits, accuracy, load_data, load_weights, make_loader

__all__ = ["work"]

OF_FILES = ("network", "network_args", "network_sha256", "weights", "weights_sha256", "folder")
"""Fields of a recipe that name files."""


def work(trials: list[dict[str, Any]], folder: str, threads: int) -> list[dict[str, Any]]:
    """Results of trials that share a training, in their order; of one that fails its error.

    Args:
        trials: `Trial.to_dict`, all of one `training_key`.
        folder: where the training run lives, and is resumed if it was stopped.
        threads: threads of torch.
    """
    torch.set_num_threads(threads)
    chosen = [Trial.from_dict(trial) for trial in trials]
    started = time.monotonic()
    try:
        data = load_data(chosen[0].recipe.data, val_size=chosen[0].held_out)
        run = _trained(chosen[0], Path(folder), data)
    except (HratError, OSError, ValueError, RuntimeError) as error:
        return [_failed(error) for _ in chosen]
    seconds = time.monotonic() - started
    results = []
    for trial in chosen:
        started = time.monotonic()
        try:
            result = _tested(trial, run, data)
        except (HratError, OSError, ValueError, RuntimeError) as error:
            results.append(_failed(error))
            continue
        results.append({**result, "train_seconds": run.seconds, "seconds": seconds + time.monotonic() - started})
    return results


def _failed(error: Exception) -> dict[str, Any]:
    return {"status": "failed", "error": f"{type(error).__name__}: {error}"}


def _trained(trial: Trial, folder: Path, data: DataSplits) -> Run:
    method = "plain" if trial.method == "float" else trial.method
    recipe, spec = _for_training(trial, folder)
    return train(
        recipe,
        folder,
        method=method,
        spec=spec,
        seed=trial.seed,
        progress=False,
        data=data,
    )


def _for_training(trial: Trial, folder: Path) -> tuple[Recipe, HardwareSpec]:
    """Recipe and hardware of the run; one that is there already keeps its own.

    The folder is called after all that training depends on: what differs is a name, a number of chips, or hardware that
    this method does not see.
    """
    there = run_in(folder)
    if not there:
        return trial.recipe, trial.spec
    # Code and weights are those that the sweep names: what a folder says of them is not enough to run or read them.
    own = {name: getattr(trial.recipe, name) for name in OF_FILES}
    return replace(Recipe.from_dict(there["recipe"]), **own), HardwareSpec.from_dict(there["spec"])


def _tested(trial: Trial, run: Run, data: DataSplits) -> dict[str, Any]:
    row: dict[str, Any] = {"status": "done", "error": "", "software": run.accuracy_without_error}
    if trial.method == "float":
        row.update(mean=run.accuracy_without_error, worst=run.accuracy_without_error, std=0.0, chips=0)
        if data.val is not None:
            with restrictions(run.model, run.spec.ideal()):
                share = accuracy(run.model, make_loader(data.val, TEST_BATCH), together=False)
            row.update(val_mean=share, val_worst=share, val_std=0.0)
        return row
    model = _for_chips(trial, run, data.train)
    with restrictions(model, trial.on_chip):
        deployment = deploy(model)
    for prefix, images in (("", data.test), ("val_", data.val)):
        if images is None:
            continue
        chunks = program_in_chunks(deployment, chips=trial.n_chips)
        result = simulate(chunks, make_loader(images, TEST_BATCH), keep_outputs=False)
        accuracies = torch.tensor(result.accuracies, dtype=torch.float64)
        row[f"{prefix}mean"], row[f"{prefix}worst"] = float(accuracies.mean()), float(accuracies.min())
        row[f"{prefix}std"] = float(accuracies.std()) if len(accuracies) > 1 else 0.0
    row["chips"] = trial.n_chips
    return row


def _for_chips(trial: Trial, run: Run, images: ArrayDataset) -> PreparedModel:
    """The trained network, mapped to the trial's hardware where training knew none."""
    method = METHODS[trial.method]
    if method.restricted:
        return run.model
    network = trainable(method, trial.recipe.build(), trial.recipe, trial.spec, images)
    there = run_in(run.folder)
    load_weights(network, run.folder / "last.pt", identity={key: there[key] for key in IDENTITY})
    return mapped(method, network, trial.recipe, trial.spec, images).cpu().eval()
