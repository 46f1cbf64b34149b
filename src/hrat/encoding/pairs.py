"""A weight as the difference of two conductances.

One-sided differential pair: the partner of the weight's sign carries it, the other one rests in its lowest state,

    W' = R_f (G+ - G-),   G+ = G_0 + max(W', 0) / R_f,   G- = G_0 + max(-W', 0) / R_f.

`fraction = W' / (R_f * (g_max_S - g_min_S))` is the weight as a part of the window, in [-1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from hrat.physics.levels import nearest_state
from hrat.spec import Device, HardwareSpec

__all__ = ["encode_pair", "has_window", "quantise_fraction", "quantise_fraction_", "state_steps"]


def has_window(spec: HardwareSpec) -> bool:
    """Whether weights are held within a finite conductance window.

    A window matters as soon as the states in it are counted, the error is measured against it, or devices are stuck in
    it. With these restrictions off any weight can be had, and `R_f` is set by the largest one.
    """
    return spec.device.limit_states or spec.programming.limit_error or spec.faults.limit_faults


def state_steps(device: Device, like: Tensor) -> Tensor:
    """Distance of each state from the lowest one as a fraction of the window, `(n_states,)`, ascending from 0."""
    states = torch.tensor(device.states_S, dtype=torch.float64)
    return ((states - states[0]) / device.g_range_S).to(like)


def quantise_fraction(fraction: Tensor, device: Device) -> Tensor:
    """The nearest fraction that a pair can realise; saturates at the ends of the window. Dimensionless, any shape.

    Not differentiable: `hrat.nn.functional` puts the straight-through gradient around it.
    """
    return quantise_fraction_(fraction.clone(), device)


def quantise_fraction_(fraction: Tensor, device: Device) -> Tensor:
    """`quantise_fraction` in place."""
    if not device.limit_states:
        return fraction.clamp_(-1.0, 1.0)
    if device.levels_S is None and device.n_states is not None:
        top = device.n_states - 1
        return fraction.clamp_(-1.0, 1.0).mul_(top).round_().div_(top)
    return fraction.copy_(nearest_state(fraction, state_steps(device, fraction)))


def encode_pair(fraction: Tensor, device: Device) -> tuple[Tensor, Tensor]:
    """Target conductances `(G+, G-)` in siemens, each of the shape of `fraction`, for realisable fractions.

    Args:
        fraction: what `quantise_fraction` returns.
        device: the memristor.
    """
    lowest_S = device.states_S[0]
    g_pos_S = lowest_S + fraction.clamp(min=0.0) * device.g_range_S
    g_neg_S = lowest_S + (-fraction).clamp(min=0.0) * device.g_range_S
    return g_pos_S, g_neg_S
