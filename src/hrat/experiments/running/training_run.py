"""Training a recipe by one method, in a folder from which an interrupted run resumes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from hrat.errors import HratError
from hrat.experiments.recipes import METHODS, Recipe, load_recipe, load_start, mapped, trainable
from hrat.experiments.running.run_folder import FORMAT, IDENTITY, Run, load_run, run_in
from hrat.files import path_within, write_atomic
from hrat.nn import restrictions
from hrat.seeds import check_seed
from hrat.spec import HardwareSpec, load_spec
from hrat.training import (
    DataSplits,
    Ranks,
    accuracy,
    alone_in,
    data_digest,
    fit,
    load_data,
    make_loader,
    plain,
    put_away,
    save_weights,
    the_ranks,
)
from hrat.training.data import AUGMENTATIONS

__all__ = ["TEST_BATCH", "train"]

TEST_BATCH = 500
"""Images in a batch of testing."""


def train(
    recipe: Recipe | str | Path,
    folder: str | os.PathLike[str],
    *,
    method: str = "hrat",
    spec: HardwareSpec | str | None = None,
    seed: int = 0,
    resume: bool = True,
    device: torch.device | str | None = None,
    tensorboard: bool = False,
    progress: bool = True,
    data: DataSplits | None = None,
) -> Run:
    """Train a recipe and leave the result in `folder`: `run.json`, `model.pt`, `last.pt`, `metrics.csv`.

    Ranks that have joined each other (`hrat.training.launch`, `torchrun`) train it together; each calls this.

    Args:
        recipe: a recipe, its name, or a TOML file.
        folder: where the run lives; a run that was interrupted goes on from there.
        method: one of `METHODS`.
        spec: the hardware, in place of the recipe's.
        seed: seed of the network's first weights, the order of the images and the errors.
        resume: False to begin anew.
        device: where to train.
        tensorboard: write TensorBoard logs.
        progress: show a progress bar.
        data: the data, where it is loaded already.

    Raises:
        HratError: unknown recipe, method or data; a folder that holds another run, or into which another process
            trains; training that diverged.
    """
    seed = check_seed(seed)
    recipe = load_recipe(recipe).on(device)
    chosen = load_spec(recipe.spec if spec is None else spec)
    if method not in METHODS:
        raise HratError(f"unknown method {method!r}; expected one of {', '.join(METHODS)}")
    data = load_data(recipe.data) if data is None else data
    root = Path(folder)
    identity = _identity(recipe, chosen, method, seed, data)
    ranks = the_ranks()
    # A finished run may be read while others read it; only who trains keeps the others out.
    if resume and _is_finished(root, identity, ranks):
        return load_run(root, data=data, recipe=recipe)
    with alone_in(root, wanted=ranks.leads):
        if ranks.leads and not resume:
            put_away(root, "model.pt", "run.json")
        if _is_finished(root, identity, ranks):  # by now
            return load_run(root, data=data, recipe=recipe)
        if ranks.leads:
            write_atomic(path_within(root, "run.json"), json.dumps({"format": FORMAT, **identity}, indent=2) + "\n")
        torch.manual_seed(seed)
        network = recipe.build()
        if recipe.weights:
            load_start(network, Path(recipe.weights), sha256=recipe.weights_sha256)
        module = trainable(METHODS[method], network, recipe, chosen, data.train)
        augment = None if recipe.augment is None else AUGMENTATIONS[recipe.augment]
        loader = make_loader(data.train, recipe.batch_size, shuffle=True, seed=seed, drop_last=True, augment=augment)
        result = fit(
            module,
            loader,
            options=recipe.fit,
            folder=root,
            resume=resume,
            device=device,
            tensorboard=tensorboard,
            progress=progress,
            title=METHODS[method].label,
            identity=identity,
        )
        model = mapped(METHODS[method], module.cpu(), recipe, chosen, data.train).cpu().eval()
        # A network that was trained without restrictions is measured without them, one that knows them with them.
        with restrictions(model, chosen if METHODS[method].restricted else chosen.ideal()):
            # By each rank alone, on a CPU, where the model is by now.
            without_error = accuracy(model, make_loader(data.test, TEST_BATCH), together=False)
        if ranks.leads:
            save_weights(path_within(root, "model.pt"), model, identity)
            finished = {"format": FORMAT, **identity, "software": without_error, "seconds": result.seconds}
            write_atomic(path_within(root, "run.json"), json.dumps(finished, indent=2) + "\n")
        return Run(
            folder=root,
            model=model,
            recipe=recipe,
            spec=chosen,
            method=method,
            seed=seed,
            accuracy_without_error=without_error,
            seconds=result.seconds,
        )


def _is_finished(root: Path, identity: dict[str, Any], ranks: Ranks) -> bool:
    """Whether the folder holds this run to its end.

    Raises:
        HratError: it holds another run.
    """
    before = ranks.from_leader(run_in(root) if ranks.leads else {})
    changed = [key for key in IDENTITY if before and before.get(key) != identity[key]]
    if changed:
        raise HratError(
            f"{root} holds a run with another {' and '.join(changed)}; expected the same to go on with it. Give "
            "another folder, or begin anew (--fresh)"
        )
    return bool(ranks.from_leader("software" in before and (root / "model.pt").is_file()))


def _identity(recipe: Recipe, spec: HardwareSpec, method: str, seed: int, data: DataSplits) -> dict[str, Any]:
    digests = {"train": data_digest(data.train), "test": data_digest(data.test)}
    parts = (recipe.identity, spec.to_dict(), method, seed, digests)
    return plain(dict(zip(IDENTITY, parts, strict=True)))
