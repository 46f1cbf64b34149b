"""Recipes: an experiment as data, in TOML."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hrat.conversion import ScaleMode
from hrat.errors import HratError, SpecError
from hrat.experiments.recipes.networks import NETWORKS
from hrat.experiments.recipes.own_network import RecipeError, file_and_name, file_sha256, network_from_file
from hrat.experiments.recipes.start import start_sha256
from hrat.names import check_name, check_text, one_line
from hrat.nn import BatchNormForm
from hrat.spec import toml_table
from hrat.training import FitOptions, has_bfloat16, settle_fields
from hrat.training.data import AUGMENTATIONS, DATASET_NAMES

__all__ = ["Recipe", "RecipeError", "load_recipe", "recipe_names"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Network, data, hardware and training of an experiment."""

    name: str
    description: str = ""
    network: str
    """One of `hrat.experiments.NETWORKS`; or a class or function of a file, as ``mynet.py:Net``, by its path from the
    recipe."""
    data: str
    """Name of a data set, or a folder of one's own: images by class, or files in the formats of the public sets."""
    network_args: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the network."""
    network_sha256: str = ""
    """Digest of the network's file, by which a changed one is told; found when the recipe is read."""
    weights: str = ""
    """Weights to start from: `.safetensors` or `.pt` with the state dict of the plain network, or the folder of a run
    of the method plain; random ones without it."""
    weights_sha256: str = ""
    """Digest of these weights; found when the recipe is read."""
    folder: str = ""
    """Folder of the recipe, in which the network's file is looked for; no part of what a run is told by."""
    spec: str = "generic-4bit"
    """Hardware preset."""
    augment: str | None = None
    """One of `hrat.training.data.AUGMENTATIONS`, for the training images; they are taken as they are without it."""
    batch_size: int = 128
    chips: int = 20
    """Chips to program."""
    scales: ScaleMode = "signal"
    batch_norm: BatchNormForm = "one_pass"
    fit: FitOptions = field(default_factory=FitOptions)
    gpu: dict[str, Any] = field(default_factory=dict)
    """Training options, and `batch_size`, that take the place of the others on a GPU."""
    bf16: dict[str, Any] = field(default_factory=dict)
    """The same for a processor with instructions for products in bfloat16."""

    def on(self, device: str | torch.device | None) -> Recipe:
        """The recipe for a device: its `gpu` options replace the others on a GPU, its `bf16` options on a processor.

        Those of `bf16` only where the processor computes in bfloat16; what does not hold there is left out.
        """
        special: dict[str, Any] = {}
        if device is not None and torch.device(device).type == "cuda":
            special = self.gpu
        elif self.bf16 and has_bfloat16(device):
            special = self.bf16
        options = {key: value for key, value in special.items() if key != "batch_size"}
        batch_size = special.get("batch_size", self.batch_size)
        return dataclasses.replace(self, fit=self.fit.replace(**options), batch_size=batch_size, gpu={}, bf16={})

    def with_fit(self, **options: Any) -> Recipe:
        """The recipe with other training options, which hold on every device.

        Raises:
            TrainingError: an unknown option, or a value out of its range.
        """
        gpu, bf16 = (
            {key: value for key, value in special.items() if key not in options} for special in (self.gpu, self.bf16)
        )
        return dataclasses.replace(self, fit=self.fit.replace(**options), gpu=gpu, bf16=bf16)

    @property
    def network_file(self) -> Path | None:
        """The file of a network of the user's own; None for one that comes with hrat."""
        own = file_and_name(self.network)
        return None if own is None else Path(self.folder, own[0])

    def build(self) -> nn.Module:
        """A new network, its weights from torch's default generator. Code of a file of the user's own is run.

        Raises:
            RecipeError: the file has changed, fails, or makes no network.
        """
        own = file_and_name(self.network)
        if own is not None:
            path = Path(self.folder, own[0])
            return network_from_file(path, own[1], self.network_args, sha256=self.network_sha256)
        try:
            return NETWORKS[self.network](**self.network_args)
        except TypeError as error:
            raise RecipeError(f"recipe '{self.name}': network_args do not fit {self.network}: {error}") from error

    def with_network(self, network: str, folder: str | Path | None = None) -> Recipe:
        """The recipe with another network, its file being looked for in a folder: the recipe's own if None.

        Raises:
            RecipeError: there is no such network or file.
        """
        place = self.folder if folder is None else str(folder)
        other = dataclasses.replace(self, network=network, folder=place, network_sha256="")
        return other.with_digests()

    def with_weights(self, weights: str | Path) -> Recipe:
        """The recipe with other weights to start from: a file, or the folder of a run.

        Raises:
            RecipeError: there is neither.
        """
        return dataclasses.replace(self, weights=str(Path(weights)), weights_sha256="").with_digests()

    def with_digests(self) -> Recipe:
        """The recipe with the digests of the files that it names, as far as it does not have them yet.

        Raises:
            RecipeError: a file is not there.
        """
        changes: dict[str, Any] = {}
        if self.network_file is not None and not self.network_sha256:
            changes["network_sha256"] = file_sha256(self.network_file)
        if self.weights and not self.weights_sha256:
            changes["weights_sha256"] = start_sha256(Path(self.weights))
        return dataclasses.replace(self, **changes) if changes else self

    @property
    def identity(self) -> dict[str, Any]:
        """What a run is told by, as plain data: files count by their content, wherever they lie."""
        return {**self.to_dict(), "folder": "", "weights": ""}

    def __post_init__(self) -> None:
        """Refuse names that do not exist, or are none.

        Raises:
            RecipeError: a value of another kind, unknown network, data set or augmentation, or a number that makes no
                sense.
        """
        settle_fields(self, RecipeError, f"recipe '{self.name}': ")
        check_name(self.name, "the name of a recipe", error=RecipeError)
        check_text(self.description, f"recipe '{self.name}': description", error=RecipeError)
        if self.network not in NETWORKS and file_and_name(self.network) is None:
            raise RecipeError(
                f"recipe '{self.name}': unknown network '{self.network}'; expected one of {', '.join(NETWORKS)}, or "
                "a class of a file of yours, as mynet.py:Net"
            )
        if self.data not in DATASET_NAMES and not Path(self.data).is_dir():
            raise RecipeError(
                f"recipe '{self.name}': unknown data '{self.data}'; expected a folder, or one of "
                f"{', '.join(DATASET_NAMES)}"
            )
        if self.augment is not None and self.augment not in AUGMENTATIONS:
            raise RecipeError(
                f"recipe '{self.name}': unknown augmentation '{self.augment}'; expected one of "
                f"{', '.join(AUGMENTATIONS)}, or none given"
            )
        for special in (self.gpu, self.bf16):
            self.fit.replace(**{key: value for key, value in special.items() if key != "batch_size"})  # refuses others
        if self.batch_size < 2 or self.chips < 1:
            raise RecipeError(
                f"recipe '{self.name}': expected batch_size >= 2 and chips >= 1, got {self.batch_size} and {self.chips}"
            )

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Recipe:
        """Make a recipe of plain data.

        Raises:
            RecipeError: unknown or missing keys.
            TrainingError: unknown training options.
        """
        fields = {f.name: f for f in dataclasses.fields(cls)}
        for key in data:
            if key not in fields:
                near = difflib.get_close_matches(key, fields, n=1)
                raise RecipeError(f"unknown key {key!r} in a recipe" + (f"; did you mean '{near[0]}'?" if near else ""))
        missing = [key for key in ("name", "network", "data") if key not in data]
        if missing:
            raise RecipeError(f"a recipe lacks {', '.join(missing)}")
        values = dict(data)
        fit = values.get("fit", {})
        if not isinstance(fit, Mapping):
            raise RecipeError(f"expected the training options of a recipe as a table [fit], got {fit!r}")
        values["fit"] = FitOptions.from_dict(fit)
        return cls(**values)


def recipe_names() -> list[str]:
    """Names of the recipes that come with hrat."""
    folder = resources.files(__package__)
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_recipe(name: str | Path | Recipe) -> Recipe:
    """A recipe by its name, or from a TOML file.

    Raises:
        RecipeError: there is none of that name, the file is missing or not a recipe, it names a file that is not there,
            or its training options are none.
    """
    if isinstance(name, Recipe):
        return name.with_digests()
    text: str
    if str(name) in recipe_names():
        text = resources.files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    elif str(name).endswith(".toml") and Path(name).is_file():
        try:
            text = Path(name).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise RecipeError(f"{name} is not a text in UTF-8: {error}; expected a recipe in TOML") from error
    else:
        near = difflib.get_close_matches(str(name), recipe_names(), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise RecipeError(f"no recipe '{name}'{hint}; expected a .toml file or one of {', '.join(recipe_names())}")
    try:
        data = toml_table(text)
    except SpecError as error:
        raise RecipeError(f"{name} is {error}") from error
    try:
        return Recipe.from_dict(
            {"name": one_line(Path(str(name)).stem), **_beside(data, Path(name).parent)}
        ).with_digests()
    except HratError as error:
        raise RecipeError(f"{name}: {error}") from error


def _beside(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The content of a recipe, with what it names by paths from its own folder."""
    found = dict(data)
    if file_and_name(str(data.get("network"))) is not None:
        found["folder"] = str(folder)
    for key in ("weights", "data"):
        named = data.get(key)
        if isinstance(named, str) and named and named not in DATASET_NAMES and (folder / named).exists():
            found[key] = str(folder / named)
    return found
