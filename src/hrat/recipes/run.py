"""Runs: a recipe trained by one method, in a folder that can be gone on with."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hrat.artifacts.storage import read_json
from hrat.errors import ArtifactError, HratError
from hrat.files import path_within, write_atomic
from hrat.nn import PreparedModel, restrictions
from hrat.recipes.methods import METHODS, mapped, prepared_for, trainable
from hrat.recipes.networks import build_network
from hrat.recipes.recipe import Recipe, load_recipe
from hrat.seeds import check_seed
from hrat.spec import HardwareSpec, load_spec
from hrat.tables import csv_rows
from hrat.training import DataSplits, accuracy, fit, load_data, load_weights, make_loader, the_ranks
from hrat.training.checkpoint import load_state, put_away, save_weights
from hrat.training.data import AUGMENTATIONS
from hrat.training.identity import data_digest, plain

__all__ = ["IDENTITY", "Run", "load_run", "run_in", "train"]

TEST_BATCH = 500
FORMAT = 2
"""Of `run.json`; 1 did not say which data a run is of."""
IDENTITY = ("recipe", "spec", "method", "seed", "data")
"""What a run is known by, in `run.json` and in every checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A trained network and how it came about."""

    folder: Path
    model: PreparedModel
    recipe: Recipe
    spec: HardwareSpec
    method: str
    seed: int
    software: float
    """Test accuracy without programming error: in floating point, or, of HRAT, under the other restrictions."""
    seconds: float
    """Time that training took, of this call and those that it went on from."""

    @property
    def facts(self) -> dict[str, str]:
        """What it is, for people."""
        return {
            "recipe": self.recipe.name,
            "network": self.recipe.network,
            "data": self.recipe.data,
            "method": METHODS[self.method].label,
            "training seed": str(self.seed),
        }

    def metrics(self) -> list[dict[str, float]]:
        """A row for each epoch; none where the folder holds no `metrics.csv`.

        Raises:
            ArtifactError: the file is damaged.
        """
        path = self.folder / "metrics.csv"
        if not path.is_file():
            return []
        table = csv_rows(path)
        _, names = next(table, (1, []))
        try:
            rows = [{name: float(cell) for name, cell in zip(names, cells, strict=True)} for _, cells in table]
        except ArtifactError:
            raise
        except ValueError as error:
            raise ArtifactError(f"{path} is damaged: {error}; expected the numbers that hrat train writes") from error
        missing = [key for key in ("epoch", "loss", "accuracy", "lr") if not rows or key not in rows[0]]
        if missing:
            raise ArtifactError(f"{path} is damaged: it lacks {', '.join(missing)}; expected a line for each epoch")
        return rows


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
        seed: of the network's first weights, the order of the images and the errors.
        resume: False to begin anew.
        device: where to train.
        tensorboard: write TensorBoard logs.
        progress: show a progress bar.
        data: the data, where it is loaded already.

    Raises:
        HratError: unknown recipe, method or data; a folder that holds another run; training that diverged.
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
    if ranks.leads and not resume:
        put_away(root, "model.pt", "run.json")
    before = ranks.from_leader(run_in(root) if ranks.leads else {})
    changed = [key for key in IDENTITY if before and before.get(key) != identity[key]]
    if changed:
        raise HratError(
            f"{root} holds a run with another {' and '.join(changed)}; expected the same to go on with it. Give "
            "another folder, or begin anew (--fresh)"
        )
    if ranks.from_leader("software" in before and (root / "model.pt").is_file()):
        return load_run(root, data=data)
    if ranks.leads:
        write_atomic(path_within(root, "run.json"), json.dumps({"format": FORMAT, **identity}, indent=2) + "\n")
    torch.manual_seed(seed)
    module = trainable(METHODS[method], build_network(recipe.network), recipe, chosen, data.train)
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
        software = accuracy(model, make_loader(data.test, TEST_BATCH), together=False)
    if ranks.leads:
        save_weights(path_within(root, "model.pt"), model, identity)
        finished = {"format": FORMAT, **identity, "software": software, "seconds": result.seconds}
        write_atomic(path_within(root, "run.json"), json.dumps(finished, indent=2) + "\n")
    return Run(
        folder=root,
        model=model,
        recipe=recipe,
        spec=chosen,
        method=method,
        seed=seed,
        software=software,
        seconds=result.seconds,
    )


def load_run(folder: str | os.PathLike[str], *, data: DataSplits | None = None) -> Run:
    """A finished run, its model ready to be deployed.

    Raises:
        FileNotFoundError: the folder holds no run.
        ArtifactError: the run is not finished, or its files are damaged.
    """
    root = Path(folder)
    info = _read(root)
    if "software" not in info or not (root / "model.pt").is_file():
        raise ArtifactError(f"the run in {root} is not finished; train it to the end with the same command first")
    recipe, spec = Recipe.from_dict(info["recipe"]), HardwareSpec.from_dict(info["spec"])
    data = load_data(recipe.data) if data is None else data
    model = prepared_for(METHODS[info["method"]], build_network(recipe.network), recipe, spec, data.train).eval()
    load_weights(model, root / "model.pt", identity={key: info[key] for key in IDENTITY})
    return Run(
        folder=root,
        model=model,
        recipe=recipe,
        spec=spec,
        method=info["method"],
        seed=info["seed"],
        software=info["software"],
        seconds=info["seconds"],
    )


def _identity(recipe: Recipe, spec: HardwareSpec, method: str, seed: int, data: DataSplits) -> dict[str, Any]:
    digests = {"train": data_digest(data.train), "test": data_digest(data.test)}
    parts = (recipe.to_dict(), spec.to_dict(), method, seed, digests)
    return plain(dict(zip(IDENTITY, parts, strict=True)))


def run_in(root: Path) -> dict[str, Any]:
    """What the run that a folder holds is known by, and if it is finished what it came to; nothing without one.

    Raises:
        ArtifactError: `run.json` is damaged.
        TrainingError: there is none, and the training state is damaged.
    """
    if (root / "run.json").is_file():
        return _read(root)
    if (root / "last.pt").is_file():  # written by `fit` alone, or run.json was lost: the state knows what it is of
        return _now(load_state(root / "last.pt")["identity"]["run"])
    return {}


def _now(info: Mapping[str, Any]) -> dict[str, Any]:
    """With the fields that recipes and specs have got since it was written."""
    recipe, spec = Recipe.from_dict(info["recipe"]).to_dict(), HardwareSpec.from_dict(info["spec"]).to_dict()
    return {**info, **plain({"recipe": recipe, "spec": spec})}


def _read(root: Path) -> dict[str, Any]:
    path = root / "run.json"
    if not path.is_file():
        raise FileNotFoundError(f"{root} holds no run (no run.json); expected the folder that `hrat train -o` wrote")
    info = read_json(path, "the run.json that hrat train writes")
    if {"recipe", "spec", "method", "seed"} <= info.keys() and info.get("format") != FORMAT:
        raise ArtifactError(
            f"{path} was written by another version of hrat (format {info.get('format', 1)}; this one reads {FORMAT}); "
            "train the run anew (--fresh), or use the version that wrote it"
        )
    try:
        return _checked(_now(info))
    except (KeyError, TypeError, ValueError, AttributeError, HratError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ArtifactError(
            f"{path} is damaged or not written by hrat: {what}. Remove it and give the training command again, which "
            "goes on from what the checkpoint says; or begin anew (--fresh)"
        ) from error


def _checked(info: dict[str, Any]) -> dict[str, Any]:
    if info["method"] not in METHODS:
        raise ArtifactError(f"unknown method {info['method']!r}; expected one of {', '.join(METHODS)}")
    check_seed(info["seed"])
    kinds = {"data": dict, "software": float, "seconds": float}
    wanted = [*IDENTITY, *(("software", "seconds") if "software" in info else ())]
    for key in wanted:
        if not isinstance(info[key], kinds.get(key, object)) or isinstance(info[key], bool):
            raise ArtifactError(f"expected {key} to be a {kinds[key].__name__}, got {info[key]!r}")
    return info
