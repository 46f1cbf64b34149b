"""Schedules: values that change during training, as functions of the part that is done, in [0, 1]."""

from __future__ import annotations

import math

__all__ = ["frozen_from_epoch", "lr_factor", "noise_strength"]


def lr_factor(done: float, warmup: float) -> float:
    """Learning rate relative to its peak: a linear rise over the first `warmup`, then half a cosine down to 0."""
    if done < warmup:
        return max(done / warmup, 1e-3)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (done - warmup) / max(1e-9, 1.0 - warmup))))


def noise_strength(done: float, ramp: float) -> float:
    """Programming error relative to that of the spec: a linear rise over the first `ramp`."""
    return 1.0 if ramp <= 0.0 else min(1.0, done / ramp)


def frozen_from_epoch(epochs: int, freeze: float) -> int:
    """First epoch (from 0) in which batch norm is frozen; `epochs` if it never is. The first epoch never is."""
    return max(1, epochs - round(freeze * epochs)) if freeze > 0.0 else epochs
