"""Batches on their way into a network in training: what they are to it, onto the device, and in parts."""

from __future__ import annotations

import inspect
from collections.abc import Collection

import torch
from torch import Tensor, nn

from hrat.batches import Batch
from hrat.circuit import input_names
from hrat.errors import TrainingError
from hrat.nn import PreparedModel

__all__ = ["argument_names", "equal_parts", "on_device", "part_of_rank"]


def argument_names(model: nn.Module) -> Collection[str]:
    """Names of the arguments that a network takes, as far as it names them."""
    if isinstance(model, PreparedModel):
        return input_names(model.circuit.nodes)
    return inspect.signature(model.forward).parameters


def on_device(batch: Batch, device: torch.device, *, channels_last: bool = False) -> Batch:
    """The batch on the device, images in the layout that is asked for."""

    def moved(value: Tensor) -> Tensor:
        if device.type == "cuda" and value.device.type == "cpu":
            value = value.pin_memory()  # from there the copy runs beside what the GPU computes
        return value.to(device, non_blocking=True)

    def in_layout(value: Tensor) -> Tensor:
        return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value

    there = batch.changed(moved)
    if not channels_last:
        return there
    # Labels stay as they are.
    arguments = Batch(there.args, there.kwargs).changed(in_layout)
    return Batch(arguments.args, arguments.kwargs, there.label)


def equal_parts(batch: Batch, count: int) -> list[Batch]:
    """A batch in equally long parts.

    Raises:
        TrainingError: its rows cannot be divided so.
        DataError: what its rows are is not known.
    """
    if count == 1:
        return [batch]
    rows = batch.rows
    if rows % count:
        raise TrainingError(
            f"expected batches that can be worked on in {count} equal parts (accumulate={count}), got one of "
            f"{rows} images on this rank; choose another batch size, and leave out a last batch that is not full "
            "(drop_last=True)"
        )
    size = rows // count
    return batch.cut(*(slice(first, first + size) for first in range(0, rows, size)))


def part_of_rank(batch: Batch, rank: int, world: int) -> Batch:
    """A rank's rows of a batch, every `world`-th one.

    Raises:
        TrainingError: the ranks cannot share them equally.
        DataError: what its rows are is not known.
    """
    if world == 1:
        return batch
    if batch.rows % world:
        raise TrainingError(
            f"expected batches that {world} ranks can share equally, got one of {batch.rows}; choose a batch "
            "size that the number of ranks divides, and leave out a last batch that is not full (drop_last=True)"
        )
    (part,) = batch.cut(slice(rank, None, world))
    return part
