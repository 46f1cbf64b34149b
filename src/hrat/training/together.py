"""One network trained by several ranks: gradients and statistics of the whole batch, plain words where one is gone."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from hrat.errors import TrainingError
from hrat.nn import batch_norm_over_ranks
from hrat.training.ranks import Ranks, gone

__all__ = ["averaged_over_ranks", "others_are_there", "statistics_over_ranks"]

LOST = ("connection closed", "connection reset", "broken pipe", "timed out waiting", "gloo", "nccl")
"""Words by which a collective operation that has lost a rank complains."""


def averaged_over_ranks(
    model: nn.Module, ranks: Ranks, device: torch.device
) -> nn.parallel.DistributedDataParallel | None:
    """The model, wrapped in what averages the gradients of the ranks; None where there is one."""
    if ranks.world == 1:
        return None
    devices = [device] if device.type == "cuda" else None
    # Buffers are running statistics, which are the same on all ranks. Newer versions of torch name it otherwise.
    wrapper = nn.parallel.DistributedDataParallel
    known = inspect.signature(wrapper).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    return wrapper(model, device_ids=devices, **{buffers: False})  # type: ignore[arg-type]


@contextmanager
def others_are_there(ranks: Ranks) -> Iterator[None]:
    """Turn errors of a lost rank into one in plain words."""
    try:
        yield
    except RuntimeError as error:  # DistBackendError, of a collective operation, is one too
        of_ranks = isinstance(error, dist.DistBackendError) or any(word in str(error).lower() for word in LOST)
        if ranks.world == 1 or isinstance(error, TrainingError) or not of_ranks:
            raise
        raise gone(error) from error


@contextmanager
def statistics_over_ranks(model: nn.Module, ranks: Ranks) -> Iterator[None]:
    """Batch norms of a network that was not prepared see the batch of all ranks, as those of hrat's layers do."""
    changed = [m for m in model.modules() if isinstance(m, _BatchNorm)] if ranks.world > 1 else []
    for bn in changed:
        bn.forward = partial(batch_norm_over_ranks, bn)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for bn in changed:
            del bn.forward
