"""Finite conductance states of a memristor."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["nearest_state"]


def nearest_state(fraction: Tensor, steps: Tensor) -> Tensor:
    """Round a fraction of the conductance window to the nearest of the steps that a device has, sign kept.

    A differential pair with one partner at its lowest state realises `fraction = +-(G - G_lowest) / (g_max - g_min)`,
    where `G` is one of the states of the other partner; `steps` holds these distances.

    Args:
        fraction: any shape, dimensionless.
        steps: `(n_states,)`, ascending, the first one 0.

    Returns:
        Tensor of the shape of `fraction`. Values beyond the last step saturate there. On a tie the lower step is taken.
    """
    midpoints = (steps[1:] + steps[:-1]) / 2
    return steps[torch.bucketize(fraction.abs().contiguous(), midpoints)] * fraction.sign()
