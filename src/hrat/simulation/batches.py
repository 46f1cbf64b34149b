"""Inputs of every kind as batches: the network's arguments by name, and labels where there are any."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from hrat.artifacts import ProgrammedChip
from hrat.circuit import input_names
from hrat.errors import HratError
from hrat.simulation.nested import bytes_of, first_tensor, tensors_of

__all__ = ["Batch", "batches", "beginning_with", "images_in", "read_ahead"]

BATCH_OF_A_DATASET = 256


@dataclass(frozen=True)
class Batch:
    """Arguments of the network by name, each tensor `(images, ...)`, and labels."""

    inputs: dict[str, Any]
    labels: Tensor | None

    @property
    def n_images(self) -> int:
        """Images in the batch."""
        return int(first_tensor(self.inputs).shape[0])

    @property
    def classes(self) -> Tensor | None:
        """The labels as class numbers, `(images,)`; None where they are no single whole number for each image."""
        labels = self.labels
        is_class = isinstance(labels, Tensor) and labels.ndim == 1 and not labels.is_floating_point()
        return labels if is_class else None

    def images(self, part: slice) -> Batch:
        """The batch of some of the images."""
        inputs = {name: value[part] if isinstance(value, Tensor) else value for name, value in self.inputs.items()}
        return Batch(inputs, None if self.labels is None else self.labels[part])

    def pieces(self, n_images: int) -> Iterator[Batch]:
        """The batch in pieces of at most `n_images`."""
        if self.n_images <= n_images:
            yield self
            return
        for first in range(0, self.n_images, n_images):
            yield self.images(slice(first, first + n_images))

    def fingerprint(self, before: int) -> int:
        """Check-sum over all tensors, continued from that of the previous batch."""
        for value in (*self.inputs.values(), self.labels):
            if isinstance(value, Tensor):
                data = value.detach().cpu().contiguous().view(-1).view(torch.uint8)
                before = zlib.crc32(data.numpy().data, before)
        return before


def batches(chip: ProgrammedChip, data: Any, limit: int | None, device: torch.device) -> Iterator[Batch]:
    """The batches of whatever `simulate` takes, cut at the limit, in the number type of the chip.

    Raises:
        HratError: the data is of an unknown kind, or does not fit the network's inputs.
        ValueError: inputs that are not finite.
    """
    names = input_names(chip.deployment.graph)
    dtype = next(iter(chip.layers.values())).g_pos_S.dtype
    if limit is not None and limit < 1:
        raise HratError(f"limit: expected 1 image or more, or None for all, got {limit}")
    left = limit
    for raw in _raw_batches(data):
        batch = _named(raw, names, labelled=not isinstance(data, Tensor | tuple))
        if left is not None:
            batch = batch.images(slice(left))
            left -= batch.n_images
        if batch.n_images:
            sound = {name: _sound(name, value, dtype, device) for name, value in batch.inputs.items()}
            yield Batch(sound, batch.labels)
        if left is not None and left <= 0:
            return


def beginning_with(first: list[Batch], rest: Iterable[Batch]) -> Iterator[Batch]:
    """The batch in `first`, taken out of this list to free its memory, followed by `rest`."""
    yield first.pop()
    yield from rest


def read_ahead(source: Iterable[Batch], n_bytes: int) -> Iterator[list[Batch]]:
    """Lists of batches whose inputs take at most `n_bytes` together; at least one batch each."""
    held: list[Batch] = []
    size = 0
    for batch in source:
        held.append(batch)
        size += bytes_of(batch.inputs)
        if size + bytes_of(batch.inputs) > n_bytes:  # another one would be too many
            yield held
            held, size = [], 0
    if held:
        yield held


def images_in(data: Any, limit: int | None) -> int | None:
    """Number of images, if it is known before they are read; else None."""
    if isinstance(data, Tensor):
        total: int | None = data.shape[0]
    else:
        source = data.sampler if isinstance(data, DataLoader) else data
        total = len(source) if isinstance(source, Sized) and isinstance(source, Dataset | Sampler) else None
    if total is None or limit is None:
        return total if limit is None else limit
    return min(total, limit)


def _raw_batches(data: Any) -> Iterable[Any]:
    if isinstance(data, Tensor):
        return [(data,)]
    if isinstance(data, tuple | dict):
        return [data]
    if isinstance(data, Dataset):
        return DataLoader(data, batch_size=BATCH_OF_A_DATASET)
    if not isinstance(data, Iterable):
        raise HratError(
            f"cannot simulate on a {type(data).__name__}; expected a tensor of inputs, a loader of (input, label), or "
            "a Dataset"
        )
    return data


def _named(raw: Any, names: list[str], *, labelled: bool) -> Batch:
    """A batch with its arguments by name."""
    if isinstance(raw, dict):
        unknown = [name for name in raw if name not in names]
        if unknown:
            raise HratError(f"the network has no input '{unknown[0]}'; it takes {', '.join(names)}")
        return Batch(dict(raw), None)
    if isinstance(raw, Tensor):
        return Batch({names[0]: raw}, None)
    args, labels = (raw[:-1], raw[-1]) if labelled else (raw, None)
    if labelled and len(args) == 1 and isinstance(args[0], tuple | list):
        args = args[0]  # ((x1, x2), label)
    if not tensors_of(args):
        raise HratError("a batch holds no inputs; expected (input, label) of each, or inputs alone as a tensor")
    if len(args) > len(names):
        raise HratError(f"the network takes {len(names)} input(s) ({', '.join(names)}), got {len(args)}")
    return Batch(dict(zip(names, args, strict=False)), labels)


def _sound(name: str, value: Any, dtype: torch.dtype, device: torch.device) -> Any:
    if not isinstance(value, Tensor):
        return value
    if value.is_floating_point():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"input '{name}' has values that are not finite; expected numbers")
        value = value.to(dtype)
    return value.to(device)
