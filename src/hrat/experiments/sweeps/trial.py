"""A trial: one network, trained once in one way for one hardware, and tested on a number of chips."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hrat.experiments.recipes import METHODS, Recipe, relative_pair_error
from hrat.spec import HardwareSpec
from hrat.training.data import DATASET_NAMES

__all__ = ["Trial"]

FORMAT = 1
"""Version of the keys: raised when the same inputs would give other results, so that old ones are not taken for new."""

OF_NO_ACCOUNT = ("name", "description", "spec", "chips", "gpu", "bf16", "folder", "weights")
"""Fields of a recipe that training does not depend on, or that stand in the trial itself."""
ONLY_TELLS = ("name", "description", "sources", "costs")
"""Fields of a spec that act on no accuracy."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial, all that its result depends on; two trials of one `key` have the same result."""

    recipe: Recipe
    spec: HardwareSpec
    """The hardware that the network is trained for."""
    method: str = "hrat"
    seed: int = 0
    """Seed of training."""
    chip_spec: HardwareSpec | None = None
    """The hardware that the chips have, where it is not that of training."""
    chips: int | None = None
    """Chips to test on, in place of the recipe's number; `float` has none."""
    held_out: int = 0
    """Training images that are not trained on; the accuracy on them is what choices are made by."""

    @property
    def on_chip(self) -> HardwareSpec:
        """The hardware of the chips."""
        return self.spec if self.chip_spec is None else self.chip_spec

    @property
    def n_chips(self) -> int:
        """Chips to test on; 0 for a network that is tested without one."""
        if self.method == "float":
            return 0
        return self.recipe.chips if self.chips is None else self.chips

    @property
    def training_key(self) -> str:
        """Key of what training depends on: trials that share it train one network.

        A network that knows no hardware in training is the same for all; one that knows an error is the same for all of
        that error.
        """
        method = METHODS[self.method]
        # What recipes got later is empty in those that do not use it, and no part of the keys of earlier sweeps.
        recipe = {k: v for k, v in self.recipe.to_dict().items() if k not in OF_NO_ACCOUNT and v not in ("", {})}
        hardware: Any = None
        if method.restricted:
            hardware = {k: v for k, v in self.spec.to_dict().items() if k not in ONLY_TELLS}
        elif method.noise:
            hardware = relative_pair_error(self.spec)
        trained_as = "plain" if self.method == "float" else self.method
        inputs = [FORMAT, recipe, hardware, trained_as, self.seed, self.held_out]
        if self.recipe.data not in DATASET_NAMES:  # a folder of one's own may change; files of public sets are checked
            inputs.append(_contents(_files(self.recipe.data)))
        return _digest(*inputs)

    @property
    def key(self) -> str:
        """Key of all that the result depends on."""
        specs = [{k: v for k, v in spec.to_dict().items() if k not in ONLY_TELLS} for spec in (self.spec, self.on_chip)]
        return _digest(self.training_key, specs if self.method != "float" else None, self.method, self.n_chips)

    def to_dict(self) -> dict[str, Any]:
        """The trial as plain data, to be sent to another process or machine."""
        return {
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)},
            "recipe": self.recipe.to_dict(),
            "spec": self.spec.to_dict(),
            "chip_spec": None if self.chip_spec is None else self.chip_spec.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Trial:
        """Make one from plain data: the inverse of `to_dict`."""
        chip_spec = data["chip_spec"]
        return cls(
            **{
                **data,
                "recipe": Recipe.from_dict(data["recipe"]),
                "spec": HardwareSpec.from_dict(data["spec"]),
                "chip_spec": None if chip_spec is None else HardwareSpec.from_dict(chip_spec),
            }
        )


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def _files(folder: str) -> tuple[tuple[str, str, int, int], ...]:
    """Path, name, size and time of each file, by which one that has changed is told without reading it again."""
    files = [(path, path.stat()) for path in sorted(Path(folder).rglob("*")) if path.is_file()]
    return tuple(
        (str(path), path.relative_to(folder).as_posix(), about.st_size, about.st_mtime_ns) for path, about in files
    )


@lru_cache(maxsize=16)
def _contents(files: tuple[tuple[str, str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, name, size, _ in files:
        digest.update(f"{name} {size} ".encode())
        with Path(path).open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()
