"""Progress of a training run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

__all__ = ["Progress"]


@dataclass
class Progress:
    """Progress of a run: what a checkpoint holds beside weights, optimisers and random numbers."""

    epoch: int = 0
    step: int = 0
    steps_in_epoch: int = 0
    best: float | None = None
    """The best validation accuracy so far."""
    seconds_before: float = 0.0
    """Time that the run had taken when it was last stopped."""
    sums: Tensor = field(default_factory=lambda: torch.zeros(4, dtype=torch.float64))
    """Sums over the epoch so far on this rank: loss times images, labels right, images, labels; on the device."""
    epoch_random: dict[str, Any] | None = None
    """State of the random numbers at the start of the epoch."""
    random_now: dict[str, Any] | None = None
    """State of the random numbers to go on with in the middle of an epoch, after a restore."""
    started_at: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Time that the run has taken, of this call and those that it goes on from."""
        return self.seconds_before + time.monotonic() - self.started_at
