"""Programming errors of chips."""

from __future__ import annotations

import math

import torch

from hrat.artifacts import ProgrammedChip

__all__ = ["error_rms"]


def error_rms(chips: ProgrammedChip) -> float:
    """Root mean square programming error over all devices of all chips, as a part of the window."""
    square, count = 0.0, 0
    for name in chips.layers:
        for error in chips.errors_S(name):
            square += float(error.square().sum(dtype=torch.float64))
            count += error.numel()
    return math.sqrt(square / count) / chips.deployment.spec.device.g_range_S
