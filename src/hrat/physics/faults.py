"""Stuck devices: some stay off, some on, some anywhere in the window, whatever pulses they get.

Each device is stuck independently of all others, with the shares of the spec. Limits: no clusters, no failed lines (see
`simulation/nodal` for open ones), no devices that fail later.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hrat.spec import Device, Faults

__all__ = ["has_stuck_devices", "stuck_devices"]


def has_stuck_devices(faults: Faults) -> bool:
    """Whether any device can be stuck."""
    return faults.limit_faults and faults.stuck_off + faults.stuck_on + faults.stuck_anywhere > 0


def stuck_devices(
    like: Tensor,
    device: Device,
    faults: Faults,
    *,
    generator: torch.Generator | None = None,
    strength: Tensor | float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Draw which devices are stuck, and where.

    Args:
        like: gives shape, type and device.
        device: names the window.
        faults: the shares of stuck devices, and where they are.
        generator: source of the random numbers; torch's default one where none is given.
        strength: factor on the shares (a training schedule may begin with fewer).

    Returns:
        `(stuck, g_S)`: true where a device is stuck, and the conductance there, S; elsewhere `g_S` means nothing.
    """
    off_S = device.g_min_S if faults.stuck_off_S is None else faults.stuck_off_S
    on_S = device.g_max_S if faults.stuck_on_S is None else faults.stuck_on_S
    place = like.device if generator is None else generator.device
    u = torch.rand(like.shape, dtype=like.dtype, device=place, generator=generator).to(like.device)
    off, on = faults.stuck_off * strength, (faults.stuck_off + faults.stuck_on) * strength
    every = (faults.stuck_off + faults.stuck_on + faults.stuck_anywhere) * strength
    stuck = u < every
    # Among those that are stuck anywhere, u is evenly spread between `on` and `every`: no second draw is needed.
    anywhere = (u - on) / (faults.stuck_anywhere * strength) if faults.stuck_anywhere else u
    anywhere_S = device.g_min_S + device.g_range_S * anywhere
    g_S = torch.where(u < off, off_S, torch.where(u < on, on_S, anywhere_S.clamp(device.g_min_S, device.g_max_S)))
    return stuck, g_S.to(like.dtype)
