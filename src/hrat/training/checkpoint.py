"""Checkpoints: training states on disk, from which a run resumes bit for bit.

A checkpoint may be taken in the middle of an epoch. It then holds the random state at the start of that epoch as well:
on resuming, the loader is started from it and the batches that were already used are drawn and dropped, so that the
rest of the epoch sees the same batches, augmentations and noise.

A checkpoint is a file of `torch.save` with a line at its end, the SHA-256 of all that stands before it, and says of
which run it is (`hrat.training.identity`): one that was cut or changed, or is of another run, is refused.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler

from hrat.errors import TrainingError
from hrat.files import atomic_path
from hrat.nn import PreparedModel
from hrat.training.identity import plain, said

__all__ = ["RandomState", "load_state", "load_weights", "put_away", "put_into", "save_state", "save_weights"]

FORMAT = 2
"""Version of checkpoints; raised when older ones can no longer be resumed. 1 had neither check-sum nor identity."""
SEAL = b"\nsha256 "
"""Marker in front of the check-sum at the end of the file."""
SEAL_LENGTH = len(SEAL) + 64 + 1
PIECE_BYTES = 2**20
STATE_FILES = ("last.pt", "best.pt", "metrics.csv")
"""Files that `fit` writes to its folder; `last.pt` first, since it is what a run goes on from."""


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
        """Restore all streams."""
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
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            sealed = _Sealed(file)
            try:
                torch.save({"hrat_checkpoint": FORMAT, **state}, sealed)  # type: ignore[arg-type]
            except RuntimeError:  # torch hides the OSError of a full disk behind words of its own
                if sealed.error is None:
                    raise
                raise sealed.error from None
            sealed.close()
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), os.fspath(path)) from error


def save_weights(path: str | os.PathLike[str], model: nn.Module, identity: Mapping[str, Any] | None = None) -> None:
    """Write the weights of a model, for `load_weights`, whole or not at all.

    Args:
        path: the file.
        model: the model whose weights are written.
        identity: identity of the run, as plain data.

    Raises:
        OSError: the folder cannot be written or the disk is full.
    """
    save_state(path, {"model": model.state_dict(), "identity": {"run": plain(identity or {})}})


class _Sealed:
    """A file that is written with its check-sum, and keeps the error that stopped it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            count = self._file.write(data)
        except OSError as error:
            self.error = error
            raise
        self._digest.update(data)
        return count

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """Write the check-sum, and all that is not in the file yet."""
        self._file.write(SEAL + self._digest.hexdigest().encode() + b"\n")
        self._file.flush()


def load_state(path: str | os.PathLike[str], *, whole: bool = True) -> dict[str, Any]:
    """Read a training state, checked; runs no code that the file might hold.

    Args:
        path: the file.
        whole: expect all that training needs to go on, and not the weights alone.

    Raises:
        FileNotFoundError: nothing stands at `path`.
        TrainingError: the file is damaged, no checkpoint of hrat, or of an older version.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    with Path(path).open("rb") as file:
        if not _seal_holds(file):
            raise TrainingError(_why_not_sealed(path))
        file.seek(0)
        state = torch.load(file, map_location="cpu", weights_only=True)
    if state.get("hrat_checkpoint") != FORMAT:
        raise TrainingError(
            f"{path} was written by another version of hrat (format {state.get('hrat_checkpoint')}; this one reads "
            f"{FORMAT}); use that version, or train anew (--fresh; resume=False)"
        )
    if whole and "optimizer" not in state:
        raise TrainingError(
            f"{path} holds the weights of a model alone; expected the state of a training (last.pt or best.pt)"
        )
    return dict(state)


def _seal_holds(file: BinaryIO) -> bool:
    left = file.seek(0, os.SEEK_END) - SEAL_LENGTH
    if left < 0:
        return False
    file.seek(0)
    digest = hashlib.sha256()
    while left and (piece := file.read(min(left, PIECE_BYTES))):
        digest.update(piece)
        left -= len(piece)
    return file.read() == SEAL + digest.hexdigest().encode() + b"\n"


def _why_not_sealed(path: str | os.PathLike[str]) -> str:
    """Reason why the check-sum of a file does not hold."""
    state: Any = None
    with suppress(Exception):  # whatever torch makes of a file that may hold anything
        state = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(state, dict) and state.get("hrat_checkpoint") == 1:
        return (
            f"{path} was written by an older version of hrat, whose checkpoints had no check-sum and did not say of "
            "which run they are; train anew (--fresh; resume=False), or go on with the version that wrote it"
        )
    if isinstance(state, dict) and "hrat_checkpoint" not in state:
        return (
            f"{path} is a file of PyTorch, but not a checkpoint that hrat wrote; weights of your own are read with "
            "model.load_state_dict(torch.load(path, weights_only=True))"
        )
    return (
        f"{path} is damaged, or not a checkpoint of hrat: its check-sum does not hold; take a copy of it if there is "
        "one, or train anew (--fresh; resume=False)"
    )


def put_away(folder: str | os.PathLike[str], *others: str) -> None:
    """Remove the files of a run from a folder, so that none is taken for the next run's.

    Args:
        folder: folder of the run; it need not exist.
        others: names of further files of the run.

    Raises:
        OSError: a file cannot be removed.
    """
    root = Path(folder)
    for name in (*STATE_FILES, *others):
        (root / name).unlink(missing_ok=True)
    for log in (root / "tensorboard").glob("events.out.tfevents.*"):
        log.unlink()


def load_weights(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    identity: Mapping[str, Any] | None = None,
    as_now: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
) -> None:
    """Put the weights of a checkpoint into a model of the same network.

    Args:
        model: takes the weights.
        path: a file that `fit` wrote (`last.pt`, `best.pt`), or `train` (`model.pt`).
        identity: identity of the run, given where the weights of another one are to be refused.
        as_now: the identity that an earlier version wrote -> as this one writes it.

    Raises:
        FileNotFoundError: nothing stands at `path`.
        TrainingError: the file is damaged, or holds another network or another run.
    """
    state = load_state(path, whole=False)
    of_run = state["identity"]["run"]
    if identity is not None and said(plain(of_run if as_now is None else as_now(of_run))) != said(plain(identity)):
        raise TrainingError(
            f"{path} holds the weights of another run than the files beside it; expected all of one run: train anew "
            "(--fresh; resume=False)"
        )
    put_into(model, state, Path(path))


def put_into(model: nn.Module, state: dict[str, Any], path: Path) -> None:
    """Give a model the weights of a state.

    Raises:
        TrainingError: they are those of another network.
    """
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise TrainingError(f"{path} holds another network than the one that is trained here: {error}") from error
