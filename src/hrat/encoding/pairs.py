"""A weight as the difference of two conductances.

One-sided differential pair: the partner of the weight's sign carries it, the other one rests in its lowest state,

    W' = R_f (G+ - G-),   G+ = G_0 + max(W', 0) / R_f,   G- = G_0 + max(-W', 0) / R_f.

Centred pair (`device.pairs`): both partners leave the middle of the window, in opposite directions,

    G+ = G_mid + W' / (2 R_f),   G- = G_mid - W' / (2 R_f),

so that the current of a pair does not depend on its weight. Of n states a pair has as many weights as a one-sided one:
from the middle state on, now the one and now the other partner goes a state further, (c, c), (c + 1, c),
(c + 1, c - 1), ..., (n - 1, 0).

`fraction = W' / (R_f * (g_max_S - g_min_S))` is the weight as a part of the window, in [-1, 1].
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from hrat.physics import nearest_state
from hrat.spec import Device, HardwareSpec

__all__ = ["encode_pair", "has_window", "quantise_fraction", "quantise_fraction_", "state_steps"]


def has_window(spec: HardwareSpec) -> bool:
    """Whether weights are held within a finite conductance window.

    A window matters as soon as the states in it are counted, the error is measured against it, or devices are stuck in
    it. With these restrictions off any weight can be had, and `R_f` is set by the largest one.
    """
    return spec.device.limit_states or spec.programming.limit_error or spec.faults.limit_faults


def state_steps(device: Device, like: Tensor) -> Tensor:
    """Differences that a pair realises as fractions of the window, `(n_states,)`, ascending from 0."""
    upper_S, lower_S = _partners_S(device, torch.float64, torch.device("cpu"))
    return ((upper_S - lower_S) / device.g_range_S).to(like)


def quantise_fraction(fraction: Tensor, device: Device) -> Tensor:
    """The nearest fraction that a pair can realise; saturates at the ends of the window. Dimensionless, any shape.

    Not differentiable: `hrat.nn.straight_through` puts the straight-through gradient around it.
    """
    return quantise_fraction_(fraction.clone(), device)


def quantise_fraction_(fraction: Tensor, device: Device) -> Tensor:
    """`quantise_fraction` in place, any shape."""
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
    if device.pairs == "centred":
        return _encode_centred(fraction, device)
    lowest_S = device.states_S[0]
    g_pos_S = lowest_S + fraction.clamp(min=0.0) * device.g_range_S
    g_neg_S = lowest_S + (-fraction).clamp(min=0.0) * device.g_range_S
    return g_pos_S, g_neg_S


def _encode_centred(fraction: Tensor, device: Device) -> tuple[Tensor, Tensor]:
    """`encode_pair` of centred pairs; each partner takes half of the distance to the nearest realisable fraction."""
    half_S = device.g_range_S / 2
    if device.n_states is None:
        middle_S = (device.states_S[0] + device.states_S[-1]) / 2
        return middle_S + fraction * half_S, middle_S - fraction * half_S
    upper_S, lower_S = _partners_S(device, fraction.dtype, fraction.device)
    steps = (upper_S - lower_S) / device.g_range_S
    size = fraction.detach().abs().contiguous()
    step = torch.bucketize(size, (steps[1:] + steps[:-1]) / 2)
    negative = fraction < 0
    larger_S, smaller_S = upper_S[step], lower_S[step]
    rest_S = (fraction - steps[step] * fraction.detach().sign()) * half_S
    return (
        torch.where(negative, smaller_S, larger_S) + rest_S,
        torch.where(negative, larger_S, smaller_S) - rest_S,
    )


@lru_cache(maxsize=64)
def _partners_S(device: Device, dtype: torch.dtype, place: torch.device) -> tuple[Tensor, Tensor]:
    """The states of the larger and the smaller partner for each realisable difference, ascending, `(n_states,)`, S."""
    states_S = device.states_S
    upper = list(range(len(states_S)))
    lower = [0] * len(states_S)
    if device.pairs == "centred":
        middle = (len(states_S) - 1) // 2
        upper = [middle + (k + 1) // 2 for k in range(len(states_S))]
        lower = [middle - k // 2 for k in range(len(states_S))]
    g_S = torch.tensor(states_S, dtype=torch.float64)
    return g_S[upper].to(place, dtype), g_S[lower].to(place, dtype)
