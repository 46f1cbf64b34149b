"""`pulse_response`: what one pulse does to many devices at once, by the model that a spec names.

All models are brought to one call: conductances and directions -> changes. The `rung` of a device counts its pulses
since its direction last changed, by which the amplitudes of incremental pulses grow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from hrat.errors import SpecError
from hrat.physics.pulses.flow import interpolate, state_after
from hrat.physics.pulses.soft_bounds import asymptote_and_rate
from hrat.physics.pulses.stanford_pku import current_A, gap_of_conductance_m, gap_speed_m_s
from hrat.physics.pulses.vteam import after_pulse_S
from hrat.spec import HardwareSpec, Pulses

__all__ = ["Amplitudes", "PulseResponse", "either", "pulse_response", "varied_S"]

GRID = 4096
"""Conductances at which the map of a physical model is tabulated; between them it is linear."""


@dataclass(frozen=True)
class Amplitudes:
    """Amplitudes of incremental pulses by rung, V; one rung where all pulses are the same."""

    set_V: tuple[float, ...]
    reset_V: tuple[float, ...]

    @classmethod
    def of(cls, spec: HardwareSpec) -> Amplitudes:
        """The amplitudes that a spec names."""
        programming, pulses = spec.programming, spec.pulses
        ladders = (
            _ladder(pulses.set_V, programming.set_step_V, programming.v_max_V, programming.max_pulses),
            _ladder(pulses.reset_V, programming.reset_step_V, programming.v_max_V, programming.max_pulses),
        )
        n = max(map(len, ladders))
        set_V, reset_V = (ladder + (ladder[-1],) * (n - len(ladder)) for ladder in ladders)
        return cls(set_V, reset_V)

    @property
    def n_rungs(self) -> int:
        """Number of rungs."""
        return len(self.set_V)


def _ladder(first_V: float, step_V: float, highest_V: float | None, pulses: int) -> tuple[float, ...]:
    if step_V == 0:
        return (first_V,)
    highest = math.inf if highest_V is None else max(highest_V, first_V)
    rungs = [first_V]
    while len(rungs) < max(pulses, 1) and rungs[-1] < highest:
        rungs.append(min(first_V + step_V * len(rungs), highest))
    return tuple(rungs)


class PulseResponse(Protocol):
    """Change by a pulse on average, or a sample of it where the model is random itself."""

    def change_S(self, g_S: Tensor, up: Tensor, rung: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Change of the conductance by one pulse, S.

        Args:
            g_S: conductances before it, `(n,)`, S.
            up: 1 for set pulses, 0 for reset pulses, `(n,)`, in the type of `g_S`.
            rung: index of each device's amplitude, `(n,)`; None: the lowest one.
            generator: random numbers of models that are random themselves; None: their mean.
        """
        ...


def either(up: Tensor, of_set: Tensor, of_reset: Tensor, rung: Tensor | None) -> Tensor:
    """A parameter of set pulses where `up` is 1, of reset pulses where it is 0, `(n,)`; both by rung, `(rungs,)`."""
    if rung is None:
        set_value, reset_value = float(of_set[0]), float(of_reset[0])
        return up.mul(set_value - reset_value).add_(reset_value)
    return torch.lerp(of_reset[rung], of_set[rung], up)


def varied_S(change_S: Tensor, z: Tensor, pulses: Pulses) -> Tensor:
    """A change with its variation from cycle to cycle, S: no pulse works backwards.

        |dG| -> max(|dG| + z sqrt((cycle_spread_rel |dG|)^2 + cycle_spread_S^2), 0)

    Args:
        change_S: change without it, any shape, S; may be overwritten.
        z: standard normal numbers of that shape; may be overwritten.
        pulses: the spreads.
    """
    if pulses.cycle_spread_S == 0:
        return change_S.mul_(z.mul_(pulses.cycle_spread_rel).add_(1.0).clamp_(min=0.0))
    size_S = change_S.abs()
    spread_S = torch.hypot(size_S * pulses.cycle_spread_rel, torch.full_like(size_S, pulses.cycle_spread_S))
    return z.mul_(spread_S).add_(size_S).clamp_(min=0.0).mul_(change_S.sign())


def pulse_response(spec: HardwareSpec, *, dtype: torch.dtype = torch.float32) -> PulseResponse:
    """The response of a spec's device to its programming pulses.

    Args:
        spec: names the model, its figures and the pulses.
        dtype: type of the conductances that it will be called with.

    Raises:
        SpecError: the window lies beyond what a physical model can have.
    """
    return _RESPONSES[spec.pulses.model](spec, dtype)


# ---- soft bounds and equal steps -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _SoftBounds:
    """`dG = rate (end - G)`."""

    set_rate: Tensor
    """Rate of set pulses by rung, `(rungs,)`."""
    reset_rate: Tensor
    set_end_S: float
    reset_end_S: float

    def change_S(self, g_S: Tensor, up: Tensor, rung: Tensor | None, generator: torch.Generator | None) -> Tensor:
        end_S = up.mul(self.set_end_S - self.reset_end_S).add_(self.reset_end_S)
        return end_S.sub_(g_S).mul_(either(up, self.set_rate, self.reset_rate, rung))


@dataclass(frozen=True)
class _Steps:
    """`dG = +-step`."""

    set_S: Tensor
    reset_S: Tensor

    def change_S(self, g_S: Tensor, up: Tensor, rung: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return either(up, self.set_S, -self.reset_S, rung)


def _strengths(spec: HardwareSpec) -> tuple[list[float], list[float]]:
    """How many ordinary pulses a set pulse and a reset pulse of each rung are worth, by `pulses.efold_V`."""
    pulses, ladder = spec.pulses, Amplitudes.of(spec)

    def strength(amplitude_V: float, ordinary_V: float) -> float:
        return 1.0 if pulses.efold_V is None else math.exp((amplitude_V - ordinary_V) / pulses.efold_V)

    return [strength(v, pulses.set_V) for v in ladder.set_V], [strength(v, pulses.reset_V) for v in ladder.reset_V]


def _steps(spec: HardwareSpec, dtype: torch.dtype) -> PulseResponse:
    figures, range_S = spec.linear_step, spec.device.g_range_S
    set_strengths, reset_strengths = _strengths(spec)
    return _Steps(
        torch.tensor(set_strengths, dtype=dtype) * (range_S / figures.n_set),
        torch.tensor(reset_strengths, dtype=dtype) * (range_S / figures.n_reset),
    )


def _soft_bounds(spec: HardwareSpec, dtype: torch.dtype) -> PulseResponse:
    device, figures = spec.device, spec.soft_bounds
    set_strengths, reset_strengths = _strengths(spec)
    ups = [asymptote_and_rate(figures.n_set, figures.nonlinearity_set, k) for k in set_strengths]
    downs = [asymptote_and_rate(figures.n_reset, figures.nonlinearity_reset, k) for k in reset_strengths]
    return _SoftBounds(
        set_rate=torch.tensor([rate for _, rate in ups], dtype=dtype),
        reset_rate=torch.tensor([rate for _, rate in downs], dtype=dtype),
        set_end_S=device.g_min_S + ups[0][0] * device.g_range_S,
        reset_end_S=device.g_max_S - downs[0][0] * device.g_range_S,
    )


# ---- measured jumps --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Jumps:
    """A change drawn from measured quantiles, linear between conductances and between quantiles."""

    g_S: Tensor
    """`(knots,)`."""
    quantiles_S: Tensor
    """Set and reset one after the other, `(2, knots, quantiles)`."""

    @classmethod
    def of(cls, spec: HardwareSpec, dtype: torch.dtype) -> _Jumps:
        table = spec.jump_table
        n = max(len(table.set_S[0]), len(table.reset_S[0]))
        rows = [_resampled(torch.tensor(rows, dtype=torch.float64), n) for rows in (table.set_S, table.reset_S)]
        return cls(torch.tensor(table.g_S, dtype=dtype), torch.stack(rows).to(dtype))

    def change_S(self, g_S: Tensor, up: Tensor, rung: Tensor | None, generator: torch.Generator | None) -> Tensor:
        _, knots, n = self.quantiles_S.shape
        right = torch.searchsorted(self.g_S, g_S).clamp_(1, knots - 1)
        low_S, high_S = self.g_S[right - 1], self.g_S[right]
        along = ((g_S - low_S) / (high_S - low_S)).clamp_(0.0, 1.0)
        if generator is None:
            means = torch.trapezoid(self.quantiles_S, dim=2).div_(n - 1)  # over evenly spaced probabilities
            of_knot = torch.lerp(means[1][right - 1], means[0][right - 1], up)
            return torch.lerp(of_knot, torch.lerp(means[1][right], means[0][right], up), along)
        place = torch.rand(g_S.shape, dtype=g_S.dtype, generator=generator).mul_(n - 1)
        column = place.long().clamp_(max=n - 2)
        within = place - column
        flat = self.quantiles_S.view(-1)
        first = ((1 - up).long() * knots + right - 1) * n + column
        lower = torch.lerp(flat[first], flat[first + 1], within)
        upper = torch.lerp(flat[first + n], flat[first + n + 1], within)
        return torch.lerp(lower, upper, along)


def _resampled(rows: Tensor, n: int) -> Tensor:
    """Quantiles at `n` evenly spaced probabilities."""
    here = torch.linspace(0, 1, rows.shape[1], dtype=rows.dtype)
    there = torch.linspace(0, 1, n, dtype=rows.dtype)
    return torch.stack([interpolate(there, here, row) for row in rows])


# ---- physical models, tabulated --------------------------------------------------------------------------------------


StateAfter = Callable[[Tensor, float, HardwareSpec], Tensor]
"""`(g_S, voltage_V, spec)` -> conductance after a pulse, S; the voltage is positive in set pulses."""


@dataclass(frozen=True)
class _Mapped:
    """The change by a pulse as a table over conductance, for each rung."""

    g_min_S: float
    per_S: float
    """Grid points per siemens."""
    change: Tensor
    """Set and reset one after the other, `(2, rungs, GRID)`, S."""

    @classmethod
    def of(cls, after: StateAfter, spec: HardwareSpec, dtype: torch.dtype) -> _Mapped:
        device, ladder = spec.device, Amplitudes.of(spec)
        g_S = torch.linspace(device.g_min_S, device.g_max_S, GRID, dtype=torch.float64)
        tables = [
            torch.stack([after(g_S, sign * v, spec) for v in volts])
            for sign, volts in ((1.0, ladder.set_V), (-1.0, ladder.reset_V))
        ]
        return cls(device.g_min_S, (GRID - 1) / device.g_range_S, (torch.stack(tables) - g_S).to(dtype))

    def change_S(self, g_S: Tensor, up: Tensor, rung: Tensor | None, generator: torch.Generator | None) -> Tensor:
        place = ((g_S - self.g_min_S) * self.per_S).clamp_(0.0, GRID - 1.0)
        cell = place.long().clamp_(max=GRID - 2)
        within = place - cell
        first = (1 - up).long() * (self.change.shape[1] * GRID) + cell
        if rung is not None:
            first += rung * GRID
        flat = self.change.view(-1)
        return torch.lerp(flat[first], flat[first + 1], within)


def _vteam_after(g_S: Tensor, voltage_V: float, spec: HardwareSpec) -> Tensor:
    width_s = spec.pulses.set_width_s if voltage_V > 0 else spec.pulses.reset_width_s
    # VTEAM's positive voltage raises the resistance; a set pulse, which lowers it, is therefore negative there.
    return after_pulse_S(g_S, -voltage_V, width_s, spec.vteam)


def _stanford_after(g_S: Tensor, voltage_V: float, spec: HardwareSpec) -> Tensor:
    figures, v_read_V = spec.stanford_pku, spec.device.v_read_V
    gaps = gap_of_conductance_m(g_S, v_read_V, figures)
    slack = 1e-6 * (figures.gap_max_m - figures.gap_min_m)
    if gaps.min() < figures.gap_min_m - slack or gaps.max() > figures.gap_max_m + slack:
        limits = torch.tensor([figures.gap_max_m, figures.gap_min_m], dtype=torch.float64)
        low, high = (current_A(limits, v_read_V, figures) / v_read_V).tolist()
        raise SpecError(
            f"pulses.model is stanford_pku, whose conductance at v_read_V runs from {low:g} S (gap_max_m) to "
            f"{high:g} S (gap_min_m); expected the window within it, got {spec.device.g_min_S:g} to "
            f"{spec.device.g_max_S:g} S"
        )
    end, begin = figures.gap_min_m, figures.gap_max_m
    if voltage_V < 0:
        end, begin = begin, end
    width_s = spec.pulses.set_width_s if voltage_V > 0 else spec.pulses.reset_width_s
    start = gaps.clamp(figures.gap_min_m, figures.gap_max_m)
    after = state_after(lambda gap: gap_speed_m_s(gap, voltage_V, figures), start, end, begin, width_s)
    return current_A(after, v_read_V, figures) / v_read_V


_RESPONSES: dict[str, Callable[[HardwareSpec, torch.dtype], PulseResponse]] = {
    "soft_bounds": _soft_bounds,
    "linear_step": _steps,
    "jump_table": _Jumps.of,
    "vteam": partial(_Mapped.of, _vteam_after),
    "stanford_pku": partial(_Mapped.of, _stanford_after),
}
"""How each of `hrat.spec.PULSE_MODELS` becomes a response."""
