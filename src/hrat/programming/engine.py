"""Pulses on many devices at once, until nobody wants another one.

A flat piece of an array goes through all of its pulses before the next piece is begun, so that it stays in the cache;
devices that are done leave the piece. What decides on a device's next pulse is given from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hrat.physics.pulses import Amplitudes, PulseResponse, pulse_response
from hrat.spec import HardwareSpec

__all__ = ["Cells", "Decision", "Pulser"]

LEAVE_BELOW = 0.75
"""Finished devices are taken out when fewer than this share is still pulsed; before, they are carried along."""

Decision = Callable[["Cells"], Tensor]
"""Devices -> how far each conductance should still go, S: positive asks for a set pulse, negative for a reset pulse,
zero for none."""


@dataclass
class Cells:
    """Some devices and what has happened to them; each tensor `(n,)`."""

    index: Tensor
    """Their places in the piece that they come from."""
    target_S: Tensor
    g_S: Tensor
    set_pulses: Tensor
    """int32, as is `reset_pulses`."""
    reset_pulses: Tensor
    energy_J: Tensor
    set_factor: Tensor | None = None
    """Device to device: factor on each set step; None where all devices are alike."""
    reset_factor: Tensor | None = None
    low_S: Tensor | None = None
    """The device's own window; None where it is that of the spec."""
    high_S: Tensor | None = None
    rung: Tensor | None = None
    """How far each device is up the ladder of amplitudes; None where all pulses are the same."""
    last_up: Tensor | None = None
    """Direction of the last pulse, for the ladder."""

    def tensors(self) -> dict[str, Tensor]:
        """All that are there, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def some(self, which: Tensor) -> Cells:
        """Those at the given positions."""
        return Cells(**{name: value.index_select(0, which) for name, value in self.tensors().items()})

    def put_back(self, some: Cells) -> None:
        """Take over what happened to `some`, which were taken out of a whole piece."""
        for name, value in some.tensors().items():
            if name not in ("index", "target_S", "set_factor", "reset_factor", "low_S", "high_S"):
                getattr(self, name).index_copy_(0, some.index, value)


class Pulser:
    """Gives pulses, with all that does not change from one to the next worked out before."""

    def __init__(self, spec: HardwareSpec, dtype: torch.dtype) -> None:
        pulses, ladder = spec.pulses, Amplitudes.of(spec)
        self.spec = spec
        self.response: PulseResponse = pulse_response(spec, dtype=dtype)
        self.n_rungs = ladder.n_rungs
        self.half_set_J_S = torch.tensor([v * v * pulses.set_width_s / 2 for v in ladder.set_V], dtype=dtype)
        """`V^2 t / 2` of a set pulse by rung, J/S."""
        self.half_reset_J_S = torch.tensor([v * v * pulses.reset_width_s / 2 for v in ladder.reset_V], dtype=dtype)

    def apply(self, cells: Cells, decide: Decision, budget: int, generator: torch.Generator) -> None:
        """Pulse the devices, one pulse each in turn, until all are done or `budget` turns are over.

        Args:
            cells: a whole piece, with `index` = 0, 1, 2, ...; changed in place.
            decide: what each device wants next.
            budget: most pulses that a device may get here.
            generator: source of the random numbers.
        """
        active = cells
        wanted = torch.ones(len(cells.g_S), dtype=torch.bool)
        for _ in range(budget):
            wish_S = decide(active)
            wanted = wanted.logical_and_(wish_S != 0)  # who is done once is left alone, whatever a later reading says
            n_wanted = int(wanted.count_nonzero())
            if n_wanted == 0:
                break
            masked = n_wanted < len(wanted)
            if n_wanted < LEAVE_BELOW * len(wanted):
                if active is not cells:
                    cells.put_back(active)
                chosen = wanted.nonzero().squeeze(1)
                active, wish_S, masked = active.some(chosen), wish_S.index_select(0, chosen), False
                wanted = torch.ones(n_wanted, dtype=torch.bool)
            self._pulse(active, wish_S > 0, wanted if masked else None, generator)
        if active is not cells:
            cells.put_back(active)

    def _pulse(self, cells: Cells, up: Tensor, wanted: Tensor | None, generator: torch.Generator) -> None:
        """One pulse on each device, or on those that want one."""
        if cells.rung is not None and cells.last_up is not None:
            climbs = (up == cells.last_up) & (cells.set_pulses + cells.reset_pulses > 0)
            cells.rung.add_(1).mul_(climbs).clamp_(max=self.n_rungs - 1)
            cells.last_up.copy_(up)
        change_S = self.response.change_S(cells.g_S, up, cells.rung, generator)
        if cells.set_factor is not None and cells.reset_factor is not None:
            change_S.mul_(torch.where(up, cells.set_factor, cells.reset_factor))
        if self.spec.pulses.model != "jump_table":  # whose quantiles hold all variation
            change_S = self._varied(change_S, up, generator)
        half_J_S = self._half_energy(up, cells.rung)
        if wanted is None:
            cells.set_pulses.add_(up)
            cells.reset_pulses.add_(up.logical_not())
        else:
            cells.set_pulses.add_(up & wanted)
            cells.reset_pulses.add_(wanted & ~up)
            change_S.mul_(wanted)
            half_J_S = half_J_S.mul(wanted)
        # The current flows through a conductance on its way from the one value to the other: their mean.
        cells.energy_J.addcmul_(half_J_S, cells.g_S)
        cells.g_S.add_(change_S)
        if cells.low_S is not None and cells.high_S is not None:
            torch.maximum(cells.g_S, cells.low_S, out=cells.g_S)
            torch.minimum(cells.g_S, cells.high_S, out=cells.g_S)
        else:
            cells.g_S.clamp_(self.spec.device.g_min_S, self.spec.device.g_max_S)
        cells.energy_J.addcmul_(half_J_S, cells.g_S)

    def _varied(self, change_S: Tensor, up: Tensor, generator: torch.Generator) -> Tensor:
        """The change with its variation from cycle to cycle; no pulse works backwards."""
        pulses = self.spec.pulses
        if pulses.cycle_spread_rel == 0 and pulses.cycle_spread_S == 0:
            return change_S
        z = torch.empty_like(change_S).normal_(generator=generator)
        if pulses.cycle_spread_S == 0:
            return change_S.mul_(z.mul_(pulses.cycle_spread_rel).add_(1.0).clamp_(min=0.0))
        size_S = change_S.abs()
        spread_S = torch.hypot(size_S * pulses.cycle_spread_rel, torch.full_like(size_S, pulses.cycle_spread_S))
        size_S = z.mul_(spread_S).add_(size_S).clamp_(min=0.0)
        return torch.where(up, size_S, -size_S)

    def _half_energy(self, up: Tensor, rung: Tensor | None) -> Tensor:
        if rung is None:
            return torch.where(up, self.half_set_J_S[0], self.half_reset_J_S[0])
        return torch.where(up, self.half_set_J_S[rung], self.half_reset_J_S[rung])
