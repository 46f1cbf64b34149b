"""Accuracy of a network, with the errors of random chips or without any."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from hrat.batches import right_and_counted, split_batch
from hrat.errors import TrainingError
from hrat.nn import sampled_chip
from hrat.training.batches import argument_names, on_device
from hrat.training.ranks import Ranks, the_ranks

__all__ = ["accuracy"]


@torch.no_grad()
def accuracy(
    model: nn.Module,
    loader: Any,
    *,
    chips: int = 0,
    limit: int | None = None,
    together: bool = True,
    label_key: str | None = None,
) -> float:
    """Share of labels that the largest score names, in eval mode; of sequences that of tokens.

    Ranks that train together share the batches out, and each has to call it, unless `together` is False.

    Args:
        model: a prepared model, or any other.
        loader: batches as `hrat.batches.split_batch` takes them.
        chips: random chips over which the mean is taken; 0 for none of their errors.
        limit: read no further batches behind so many images.
        together: False where each rank measures by itself.
        label_key: key of the label in batches that are dicts.

    Raises:
        TrainingError: the loader yields nothing.
        DataError: batches without labels, or outputs and labels that do not go together.
    """
    ranks = the_ranks() if together else Ranks()
    was_training = model.training
    model.eval()
    device, takes = next(model.parameters()).device, argument_names(model)
    shares = []
    for seed in range(max(1, chips)):
        sums = torch.zeros(2, dtype=torch.float64, device=device)  # labels right, and labels: nothing waits for them
        total = 0
        with sampled_chip(model, seed) if chips else nullcontext():
            for number, raw in enumerate(loader):
                batch = split_batch(raw, label_key=label_key, takes=takes).labelled()
                total += batch.rows
                if number % ranks.world == ranks.rank:
                    moved = on_device(batch, device)
                    sums += torch.stack(right_and_counted(moved.call(model), moved.label))
                if limit is not None and total >= limit:
                    break
        if total == 0:
            raise TrainingError("expected a loader with at least one image to measure the accuracy on, got none")
        right, counted = ranks.summed(sums).tolist()
        shares.append(right / counted if counted else math.nan)
    model.train(was_training)
    return sum(shares) / len(shares)
