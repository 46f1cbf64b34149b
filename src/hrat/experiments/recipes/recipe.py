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

from hrat.conversion import ScaleMode
from hrat.errors import HratError, SpecError
from hrat.experiments.recipes.networks import NETWORKS
from hrat.names import check_name, check_text, one_line
from hrat.nn import BatchNormForm
from hrat.spec import toml_table
from hrat.training import FitOptions, has_bfloat16, settle_fields
from hrat.training.data import AUGMENTATIONS, DATASET_NAMES

__all__ = ["Recipe", "RecipeError", "load_recipe", "recipe_names"]


class RecipeError(HratError, ValueError):
    """A recipe that lacks something or names what does not exist."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Network, data, hardware and training of an experiment."""

    name: str
    description: str = ""
    network: str
    """One of `hrat.experiments.NETWORKS`."""
    data: str
    """Name of a data set, or a folder of one's own in the same formats."""
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

    def __post_init__(self) -> None:
        """Refuse names that do not exist, or are none.

        Raises:
            RecipeError: a value of another kind, unknown network, data set or augmentation, or a number that makes no
                sense.
        """
        settle_fields(self, RecipeError, f"recipe '{self.name}': ")
        check_name(self.name, "the name of a recipe", error=RecipeError)
        check_text(self.description, f"recipe '{self.name}': description", error=RecipeError)
        if self.network not in NETWORKS:
            raise RecipeError(
                f"recipe '{self.name}': unknown network '{self.network}'; expected one of {', '.join(NETWORKS)}"
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
        RecipeError: there is none of that name, the file is missing or not a recipe, or its training options are none.
    """
    if isinstance(name, Recipe):
        return name
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
        return Recipe.from_dict({"name": one_line(Path(str(name)).stem), **data})
    except HratError as error:
        raise RecipeError(f"{name}: {error}") from error
