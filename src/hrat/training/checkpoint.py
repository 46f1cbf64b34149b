"""Training states on disk: all that is needed to go on as if nothing had happened.

A checkpoint may be taken in the middle of an epoch. It then holds the random state at the start of that epoch as well:
on resuming, the loader is started from it and the batches that were already used are drawn and dropped, so that the
rest of the epoch sees the same batches, augmentations and noise.
"""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler

from hrat.errors import TrainingError
from hrat.files import atomic_path
from hrat.nn import PreparedModel

__all__ = ["RandomState", "load_state", "load_weights", "save_state"]

FORMAT = 1


class RandomState:
    """Every stream of random numbers that training draws from."""

    def __init__(self, model: nn.Module, loader: Any) -> None:
        self._generators: dict[str, torch.Generator] = {}
        if isinstance(model, PreparedModel) and model.noise.generator is not None:
            self._generators["noise"] = model.noise.generator
        if isinstance(loader, DataLoader):
            for name, owner in (("loader", loader), ("sampler", loader.sampler), ("batches", loader.batch_sampler)):
                inner = getattr(owner, "sampler", None)
                for key, holder in ((name, owner), (f"{name}.sampler", inner)):
                    generator = getattr(holder, "generator", None)
                    if isinstance(generator, torch.Generator):
                        self._generators[key] = generator

        order = getattr(getattr(loader, "sampler", None), "sampler", getattr(loader, "sampler", None))
        self.loader_draws_from_default = isinstance(order, RandomSampler) and order.generator is None

    def part_ways(self, rank: int) -> None:
        """Give the rank random numbers of its own, for all but the loader."""
        seed = int(torch.randint(2**62, ())) + rank
        torch.manual_seed(seed)
        if "noise" in self._generators:
            self._generators["noise"].manual_seed(seed)

    def get(self) -> dict[str, Any]:
        """A copy of all states as plain data."""
        name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
            "python": random.getstate(),
            "generators": {key: generator.get_state() for key, generator in self._generators.items()},
        }

    def set(self, state: dict[str, Any]) -> None:
        """Put all streams back."""
        torch.set_rng_state(state["torch"])
        if state["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda"])
        name, keys, position, has_gauss, cached = state["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
        random.setstate(state["python"])
        for key, generator in self._generators.items():
            if key in state["generators"]:
                generator.set_state(state["generators"][key])


def save_state(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write a training state whole or not at all.

    Raises:
        OSError: the folder cannot be written or the disk is full; an older checkpoint is untouched.
    """
    with atomic_path(path) as temporary:
        try:
            torch.save({"hrat_checkpoint": FORMAT, **state}, temporary)
        except RuntimeError as error:  # torch hides the OSError of a full disk
            raise OSError(f"{path} could not be written ({error}); is the disk full?") from error


def load_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a training state; runs no code that the file might hold.

    Raises:
        TrainingError: the file is damaged or no checkpoint of hrat.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError) as error:
        raise TrainingError(f"{path} is damaged or not a checkpoint: {error}") from error
    if not isinstance(state, dict) or state.get("hrat_checkpoint") != FORMAT:
        raise TrainingError(f"{path} is not a checkpoint that this version of hrat can read")
    return state


def load_weights(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Put the weights of a checkpoint into a model of the same network.

    Raises:
        TrainingError: the file is damaged, or holds another network.
    """
    _into(model, load_state(path), Path(path))


def _into(model: nn.Module, state: dict[str, Any], path: Path) -> None:
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise TrainingError(f"{path} holds another network than the one that is trained here: {error}") from error
