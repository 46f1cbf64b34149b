"""Inputs of every kind as batches: the network's arguments by name, and labels where there are any."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, Dataset, Sampler

from hrat.artifacts import ProgrammedChip
from hrat.batches import Batch as LoadedBatch
from hrat.batches import split_batch
from hrat.errors import HratError
from hrat.simulation.arguments import NetworkArguments
from hrat.simulation.nested import bytes_of, changed, first_tensor, tensors_of
from hrat.simulation.rows import Rows, cut

__all__ = ["Batch", "batches", "beginning_with", "images_in", "read_ahead"]

BATCH_OF_A_DATASET = 256


@dataclass(frozen=True)
class Batch:
    """Arguments of the network by name, tensors `(images, ...)` or nests of them, and labels."""

    inputs: dict[str, Any]
    labels: Any
    rows: Rows | None = None
    """Tells which tensors have images, where the sizes alone do not; None: those of the first one's length."""

    @cached_property
    def n_images(self) -> int:
        """Images in the batch."""
        of_labels = [len(leaf) for leaf in tensors_of(self.labels) if leaf.ndim]
        if of_labels:
            return of_labels[0]
        return len(first_tensor(self.inputs)) if self.rows is None else self.rows.count(self.inputs)

    @property
    def classes(self) -> Tensor | None:
        """The labels as class numbers, `(images, ...)`; None where they are no whole numbers."""
        labels = self.labels
        is_class = isinstance(labels, Tensor) and labels.ndim > 0 and not labels.is_floating_point()
        return labels if is_class else None

    def images(self, part: slice) -> Batch:
        """The batch of some of the images.

        Raises:
            HratError: which inputs have images cannot be told.
        """
        if part.stop >= self.n_images and not part.start:
            return self
        if self.rows is not None:
            places = self.rows.with_images(self.inputs, self.n_images)
        else:
            places = frozenset(
                place
                for place, leaf in enumerate(tree_leaves(self.inputs))
                if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == self.n_images
            )
        labels = changed(self.labels, lambda leaf: leaf[part] if leaf.ndim else leaf)
        return Batch(cut(self.inputs, places, part), labels, self.rows)

    def pieces(self, n_images: int) -> Iterator[Batch]:
        """The batch in pieces of at most `n_images`."""
        if self.n_images <= n_images:
            yield self
            return
        for first in range(0, self.n_images, n_images):
            yield self.images(slice(first, first + n_images))

    def fingerprint(self, before: int) -> int:
        """Check-sum over all tensors, continued from that of the previous batch."""
        for value in tensors_of((self.inputs, self.labels)):
            data = value.detach().cpu().contiguous().view(-1).view(torch.uint8)
            before = zlib.crc32(data.numpy().data, before)
        return before


def batches(
    chip: ProgrammedChip, data: Any, limit: int | None, device: torch.device, *, label_key: str | None = None
) -> Iterator[Batch]:
    """The batches of whatever `simulate` takes, cut at the limit.

    Raises:
        HratError: the data is of an unknown kind, or does not fit the network's inputs.
        ValueError: inputs that are not numbers, or infinite ones that drive a DAC.
    """
    network = NetworkArguments(chip)
    rows = Rows(chip)
    if limit is not None and limit < 1:
        raise HratError(f"limit: expected 1 image or more, or None for all, got {limit}")
    left = limit
    for raw in _raw_batches(data):
        if isinstance(data, tuple):  # of the arguments, not of a loader
            whole = LoadedBatch(raw)
        else:
            whole = split_batch(raw, label_key=label_key, takes=network.names)
        batch = Batch(network.by_name(whole), whole.label, rows)
        if not batch.n_images:
            continue
        if left is not None:
            batch = batch.images(slice(left))
            left -= batch.n_images
        yield Batch(network.sound(batch.inputs, device), batch.labels, rows)
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
        total: int | None = data.shape[0] if data.ndim else None
    else:
        source = data.sampler if isinstance(data, DataLoader) else data
        total = len(source) if isinstance(source, Sized) and isinstance(source, Dataset | Sampler) else None
    if total is None or limit is None:
        return total if limit is None else limit
    return min(total, limit)


def _raw_batches(data: Any) -> Iterable[Any]:
    if isinstance(data, Tensor | tuple | Mapping | LoadedBatch):
        return [data]
    if isinstance(data, Dataset):
        return DataLoader(data, batch_size=BATCH_OF_A_DATASET)
    if not isinstance(data, Iterable):
        raise HratError(
            f"cannot simulate on a {type(data).__name__}; expected a tensor of inputs, a loader of (input, label), or "
            "a Dataset"
        )
    return data
