"""Pulses on many devices at once, until no device needs another one.

A flat piece of an array goes through all of its pulses before the next piece is begun, so that it stays in the cache;
devices that are done leave the piece. What decides on a device's next pulse is given from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hrat.physics.pulses import Amplitudes, PulseResponse, either, pulse_response, varied_S
from hrat.spec import HardwareSpec

__all__ = ["Cells", "Decision", "Pulser"]

LEAVE_BELOW = 0.6
"""Finished devices are taken out when fewer than this share is still pulsed; before, they are carried along."""

Decision = Callable[["Cells"], tuple[Tensor, Tensor]]
"""Devices -> `(direction, wanted)`, each `(n,)`: set pulses where the direction is positive, else reset pulses; and
whether a device wants another pulse at all."""


@dataclass
class Cells:
    """State of some devices under pulses; each tensor `(n,)`."""

    index: Tensor
    """Their places in the piece that they come from."""
    target_S: Tensor
    g_S: Tensor
    pulses: Tensor
    """Pulses so far; like `set_pulses` in the type of `g_S`, which spares conversions and is exact to 16 million."""
    set_pulses: Tensor
    energy_J: Tensor
    set_factor: Tensor | None = None
    """Device to device: factor on each set step; None where all devices are alike."""
    reset_factor: Tensor | None = None
    low_S: Tensor | None = None
    """The device's own window; None where it is that of the spec."""
    high_S: Tensor | None = None
    rung: Tensor | None = None
    """Index of each device's amplitude; None where all pulses are equal."""
    last_up: Tensor | None = None
    """Direction of the last pulse, for the ladder."""

    @classmethod
    def at(cls, g_S: Tensor, target_S: Tensor) -> Cells:
        """Devices before their first pulse, all alike, from `(n,)` conductances and targets, S."""
        return cls(
            index=torch.arange(len(g_S)),
            target_S=target_S,
            g_S=g_S,
            pulses=torch.zeros_like(g_S),
            set_pulses=torch.zeros_like(g_S),
            energy_J=torch.zeros_like(g_S),
        )

    def tensors(self) -> dict[str, Tensor]:
        """All tensors that are not None, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def some(self, which: Tensor) -> Cells:
        """The devices at the given positions."""
        return Cells(**{name: value.index_select(0, which) for name, value in self.tensors().items()})

    def put_back(self, some: Cells) -> None:
        """Copy the state of `some` devices back into the whole piece."""
        for name, value in some.tensors().items():
            if name in ("g_S", "pulses", "set_pulses", "energy_J", "rung", "last_up"):
                getattr(self, name).index_copy_(0, some.index, value)


class Pulser:
    """Applies pulses; all that does not change between pulses is precomputed."""

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
            budget: pulse budget, the most pulses for one device.
            generator: source of the random numbers.
        """
        active = cells
        wanted = torch.ones(len(cells.g_S), dtype=torch.bool)
        for _ in range(budget):
            direction, unsatisfied = decide(active)
            # Who is done once is left alone, whatever a later reading says.
            wanted = unsatisfied.logical_and_(wanted)
            n_wanted = int(wanted.count_nonzero())
            if n_wanted == 0:
                break
            if n_wanted < LEAVE_BELOW * len(wanted):
                if active is not cells:
                    cells.put_back(active)
                chosen = wanted.nonzero().squeeze(1)
                active, direction = active.some(chosen), direction.index_select(0, chosen)
                wanted = torch.ones(n_wanted, dtype=torch.bool)
            up = (direction > 0).to(active.g_S.dtype)
            self._pulse(active, up, None if n_wanted == len(wanted) else wanted.to(up.dtype), generator)
        if active is not cells:
            cells.put_back(active)

    def pulse_all(self, cells: Cells, up: bool, generator: torch.Generator) -> None:
        """One set or reset pulse on every device."""
        self._pulse(cells, torch.full_like(cells.g_S, float(up)), None, generator)

    def _pulse(self, cells: Cells, up: Tensor, wanted: Tensor | None, generator: torch.Generator) -> None:
        """One pulse on each device, or on those that want one; `up` and `wanted` are ones and zeros.

        Sums and products of these are several times faster than choosing by `torch.where`.
        """
        if cells.rung is not None and cells.last_up is not None:
            climbs = (up == cells.last_up) & (cells.pulses > 0)
            cells.rung.add_(1).mul_(climbs).clamp_(max=self.n_rungs - 1)
            cells.last_up.copy_(up)
        change_S = self.response.change_S(cells.g_S, up, cells.rung, generator)
        if cells.set_factor is not None and cells.reset_factor is not None:
            change_S.mul_(torch.lerp(cells.reset_factor, cells.set_factor, up))
        if self.spec.pulses.model != "jump_table":  # whose quantiles hold all variation
            change_S = self._varied(change_S, generator)
        half_J_S = either(up, self.half_set_J_S, self.half_reset_J_S, cells.rung)
        if wanted is None:
            cells.pulses.add_(1.0)
            cells.set_pulses.add_(up)
        else:
            cells.pulses.add_(wanted)
            cells.set_pulses.addcmul_(up, wanted)
            change_S.mul_(wanted)
            half_J_S = half_J_S.mul_(wanted)
        # The current flows through a conductance on its way from the one value to the other: their mean.
        cells.energy_J.addcmul_(half_J_S, cells.g_S)
        cells.g_S.add_(change_S)
        if cells.low_S is not None and cells.high_S is not None:
            torch.maximum(cells.g_S, cells.low_S, out=cells.g_S)
            torch.minimum(cells.g_S, cells.high_S, out=cells.g_S)
        else:
            cells.g_S.clamp_(self.spec.device.g_min_S, self.spec.device.g_max_S)
        cells.energy_J.addcmul_(half_J_S, cells.g_S)

    def _varied(self, change_S: Tensor, generator: torch.Generator) -> Tensor:
        pulses = self.spec.pulses
        if pulses.cycle_spread_rel == 0 and pulses.cycle_spread_S == 0:
            return change_S  # nothing to draw
        return varied_S(change_S, torch.empty_like(change_S).normal_(generator=generator), pulses)
