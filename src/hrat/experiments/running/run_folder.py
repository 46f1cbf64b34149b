"""The folder of a run: its files, its identity, and its network read again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hrat.artifacts import read_json
from hrat.errors import ArtifactError, HratError
from hrat.experiments.recipes import METHODS, Recipe, prepared_for
from hrat.nn import PreparedModel
from hrat.seeds import check_seed
from hrat.spec import HardwareSpec
from hrat.tables import csv_rows
from hrat.training import DataSplits, load_data, load_state, load_weights, plain

__all__ = ["FORMAT", "IDENTITY", "Run", "load_run", "run_in"]

FORMAT = 2
"""Version of `run.json`; 1 did not say which data a run is of."""
IDENTITY = ("recipe", "spec", "method", "seed", "data")
"""Fields that identify a run, in `run.json` and in every checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A trained network and how it came about."""

    folder: Path
    model: PreparedModel
    recipe: Recipe
    spec: HardwareSpec
    method: str
    seed: int
    accuracy_without_error: float
    """Test accuracy without programming error: in floating point, or for HRAT under the other restrictions."""
    seconds: float
    """Time that training took, of this call and those that it went on from."""

    @property
    def facts(self) -> dict[str, str]:
        """Facts about the run, for people."""
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


def load_run(
    folder: str | os.PathLike[str],
    *,
    data: DataSplits | None = None,
    network: str | None = None,
    recipe: Recipe | None = None,
) -> Run:
    """A finished run, its model ready to be deployed.

    Args:
        folder: the folder.
        data: the run's data, where it is loaded already.
        network: of a run with a network of the user's own: its file and name, as `mynet.py:Net`. What a run says of
            code is never enough to run that code.
        recipe: the recipe of the run, in place of `network`, where the caller has it.

    Raises:
        RecipeError: the network's file is not that of the run.
        FileNotFoundError: the folder holds no run.
        ArtifactError: the run is not finished, or its files are damaged.
    """
    root = Path(folder)
    info = _read(root)
    if "software" not in info or not (root / "model.pt").is_file():
        raise ArtifactError(f"the run in {root} is not finished; train it to the end with the same command first")
    recipe = _with_code(root, Recipe.from_dict(info["recipe"]), network, recipe)
    spec = HardwareSpec.from_dict(info["spec"])
    data = load_data(recipe.data) if data is None else data
    model = prepared_for(METHODS[info["method"]], recipe.build(), recipe, spec, data.train).eval()
    load_weights(model, root / "model.pt", identity={key: info[key] for key in IDENTITY}, as_now=_now)
    return Run(
        folder=root,
        model=model,
        recipe=recipe,
        spec=spec,
        method=info["method"],
        seed=info["seed"],
        accuracy_without_error=info["software"],
        seconds=info["seconds"],
    )


def _with_code(root: Path, saved: Recipe, network: str | None, recipe: Recipe | None) -> Recipe:
    """The recipe of a run, with the file of its network where the user has named it."""
    if saved.network_file is None:
        return saved
    if recipe is not None:
        return replace(saved, network=recipe.network, folder=recipe.folder)  # whose digest has to be that of the run
    if network is None:
        raise ArtifactError(
            f"the network of the run in {root} is {saved.network}, code of your own, which is run only where you name "
            "it; expected its file and name: --network PATH/mynet.py:Net (load_run(network=))"
        )
    path, _, name = network.rpartition(":")
    if name != saved.network.rpartition(":")[2]:
        raise ArtifactError(f"the network of the run in {root} is {saved.network}, got {network}; expected that one")
    return replace(saved, network=f"{Path(path).name}:{name}", folder=str(Path(path).parent))


def run_in(root: Path) -> dict[str, Any]:
    """Content of `run.json`: identity of the run, and its results if it is finished; empty without a run.

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
    """Content of `run.json` with the fields that recipes and specs got since it was written."""
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
    keys = [*IDENTITY, *(("software", "seconds") if "software" in info else ())]
    for key in keys:
        if not isinstance(info[key], kinds.get(key, object)) or isinstance(info[key], bool):
            raise ArtifactError(f"expected {key} to be a {kinds[key].__name__}, got {info[key]!r}")
    return info
