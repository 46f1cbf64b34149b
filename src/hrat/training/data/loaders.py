"""Loaders of batches."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from hrat.errors import DataError
from hrat.seeds import check_seed
from hrat.training.data.arrays import ArrayDataset
from hrat.training.data.augment import Augmentation

__all__ = ["make_loader"]


def make_loader(
    dataset: Dataset[Any],
    batch_size: int,
    *,
    shuffle: bool = False,
    seed: int | None = None,
    drop_last: bool = False,
    augment: Augmentation | None = None,
) -> DataLoader[Any]:
    """A loader of `(images, labels)` batches; `len` of it is the number of batches.

    An `ArrayDataset` is indexed by whole batches, so the loader's own `batch_size` is None, as PyTorch has it for
    loaders whose sampler makes the batches. Any other data set gets an ordinary `DataLoader`.

    Args:
        dataset: what to load from.
        batch_size: images in a batch; the last batch may have fewer.
        shuffle: whether each pass has an order of its own.
        seed: seed of the shuffling, which then has a generator of its own: two loaders of one seed give the same
            passes, whatever else draws random numbers. Without it the order comes from PyTorch's default generator.
            A loader that does not shuffle never touches the default generator, so that a validation in between does
            not change a training run.
        drop_last: leave out a last batch that is not full.
        augment: what is done to the images of each batch, such as `crop_flip`; only for an `ArrayDataset`. Its random
            numbers come from where those of the order come from.

    Raises:
        SeedError: the seed is no whole number, or out of range.
        DataError: `batch_size` is below 1, `drop_last` would leave no batch at all, or `augment` is given for a data
            set that does not come in whole batches.
    """
    if batch_size < 1:
        raise DataError(f"Expected a batch size of at least 1, got {batch_size}.")
    if drop_last and isinstance(dataset, Sized) and len(dataset) < batch_size:
        raise DataError(
            f"No batch is left: drop_last with a batch size of {batch_size} and {len(dataset)} images. "
            f"Take a smaller batch, or drop_last=False."
        )
    generator = None
    if seed is not None:
        generator = torch.Generator().manual_seed(check_seed(seed))
    elif not shuffle:
        # A DataLoader draws a seed for its workers in every pass, even if it has none.
        generator = torch.Generator()
    if not isinstance(dataset, ArrayDataset):
        if augment is not None:
            raise DataError(f"Expected an ArrayDataset to augment, got {type(dataset).__name__}.")
        return DataLoader(dataset, batch_size, shuffle=shuffle, drop_last=drop_last, generator=generator)
    order = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
    batches = BatchSampler(order, batch_size, drop_last)
    if augment is None:
        return DataLoader(dataset, batch_size=None, sampler=batches, generator=generator)

    def augmented(batch: Any) -> tuple[Tensor, Tensor]:
        return augment(batch[0], generator), batch[1]

    return DataLoader(dataset, batch_size=None, sampler=batches, generator=generator, collate_fn=augmented)
