"""Pulse curves and retention of a device, computed from its spec for its picture and its description."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from hrat.physics import aged_S
from hrat.programming import Cells, Pulser
from hrat.spec import HardwareSpec

__all__ = ["Staircase", "retention_spread_S", "staircase"]

DEVICES = 1000
MOST_PULSES = 1000
SEED = 0
LOOK = 25
"""Pulses after which it is looked whether the sweep still moves."""
THERE = 0.98
"""The sweep is drawn until this much of its way is gone, and a quarter longer."""


@dataclass(frozen=True)
class Staircase:
    """Conductances after 0, 1, 2, ... equal pulses, over many devices, S."""

    mean_S: Tensor
    low_S: Tensor
    """A tenth of the devices lies below."""
    high_S: Tensor
    """A tenth lies above."""
    median_device_S: Tensor
    """One device without any variation."""


@lru_cache(maxsize=8)
def staircase(spec: HardwareSpec, *, up: bool, start_S: float | None = None, pulses: int | None = None) -> Staircase:
    """Send a sweep of pulses through many devices of a spec.

    Args:
        spec: the hardware; faults are not in it.
        up: set pulses, else reset pulses.
        start_S: where all devices begin, S; the end of the window that the pulses lead away from unless given.
        pulses: how many; until little happens any more unless given.
    """
    device = spec.device
    begin_S = start_S if start_S is not None else device.g_min_S if up else device.g_max_S
    generator = torch.Generator().manual_seed(SEED)
    pulser = Pulser(spec, torch.float64)
    factors = torch.empty(2, DEVICES, dtype=torch.float64).normal_(
        0.0, spec.pulses.device_spread_rel, generator=generator
    )
    begin = torch.full((DEVICES,), begin_S, dtype=torch.float64)
    cells = Cells.at(begin, torch.zeros_like(begin))
    cells.set_factor, cells.reset_factor = factors.exp()
    plain = torch.tensor([begin_S], dtype=torch.float64)
    rows, plains = [_read(cells.g_S, spec, generator)], [plain]
    for _ in range(pulses or MOST_PULSES):
        pulser.pulse_all(cells, up, generator)
        rows.append(_read(cells.g_S, spec, generator))
        plain = plain + pulser.response.change_S(plain, torch.full_like(plain, float(up)), None, None)
        plain = plain.clamp(device.g_min_S, device.g_max_S)
        plains.append(plain)
        if pulses is None and len(rows) % LOOK == 0 and _has_stopped(rows):
            break
    table = torch.stack(rows)
    mean = table.mean(1)
    if pulses is None:
        way = (mean - mean[0]).abs()
        there = int((way >= THERE * way.max()).nonzero()[0])
        table, mean = table[: max(int(1.25 * there), 5) + 1], mean[: max(int(1.25 * there), 5) + 1]
    return Staircase(mean, table.quantile(0.1, dim=1), table.quantile(0.9, dim=1), torch.cat(plains)[: len(mean)])


def _has_stopped(rows: list[Tensor]) -> bool:
    """Whether the last LOOK pulses have moved the mean by less than a hundredth of what all of them did."""
    first, before, now = (float(row.mean()) for row in (rows[0], rows[-LOOK], rows[-1]))
    return abs(now - before) < 0.01 * abs(now - first) or now == first


def _read(g_S: Tensor, spec: HardwareSpec, generator: torch.Generator) -> Tensor:
    noise = torch.empty_like(g_S).normal_(generator=generator)
    return g_S * (1 + spec.device.read_noise_rel * noise)


def retention_spread_S(spec: HardwareSpec, g_S: float, times_s: list[float]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation over devices of the change since programming, at the reference temperature, S.

    Args:
        spec: the hardware; its retention is used whether or not it is switched on.
        g_S: the programmed state, S.
        times_s: times after programming, s.
    """
    retention = spec.retention.model_copy(update={"temperature_K": spec.retention.reference_K})
    start = torch.full((20 * DEVICES,), g_S, dtype=torch.float64)
    means, spreads = [], []
    for time_s in times_s:
        changed = aged_S(start, time_s, retention, generator=torch.Generator().manual_seed(SEED)) - start
        means.append(float(changed.mean()))
        spreads.append(float(changed.std()))
    return means, spreads
