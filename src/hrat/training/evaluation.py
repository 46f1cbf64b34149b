"""Accuracy of a network, with the errors of random chips or without any."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from hrat.errors import TrainingError
from hrat.nn import sampled_chip
from hrat.training.batches import on_device
from hrat.training.ranks import Ranks, the_ranks

__all__ = ["accuracy"]


@torch.no_grad()
def accuracy(
    model: nn.Module, loader: Any, *, chips: int = 0, limit: int | None = None, together: bool = True
) -> float:
    """Share of inputs classified right, in eval mode; the mean over `chips` random chips, or without errors for 0.

    Ranks that train together share the batches out, and each has to call it, unless `together` is False.
    """
    ranks = the_ranks() if together else Ranks()
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    shares = []
    for seed in range(max(1, chips)):
        right = total = 0
        with sampled_chip(model, seed) if chips else nullcontext():
            for number, (x, y) in enumerate(loader):
                total += len(y)
                if number % ranks.world == ranks.rank:
                    moved = on_device(x, device)
                    out = model(*moved) if isinstance(moved, tuple) else model(moved)
                    right = right + (out.argmax(1) == y.to(device)).sum()  # on the device: nothing waits for it
                if limit is not None and total >= limit:
                    break
        if total == 0:
            raise TrainingError("expected a loader with at least one image to measure the accuracy on, got none")
        shares.append(float(ranks.summed(torch.as_tensor(right, dtype=torch.float64, device=device))) / total)
    model.train(was_training)
    return sum(shares) / len(shares)
