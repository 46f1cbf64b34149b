"""Which states of a pair come nearest to a wanted difference, by the mean and the spread of what each state ends at.

A device put into state `i` ends at `m_i` on average, with variance `v_i`. For a pair in the states `i` and `j`

    E (w - (G+ - G-))^2 = (w - (m_i - m_j))^2 + v_i + v_j

is to be least. With `d = m_i - m_j` and `c = d^2 + v_i + v_j` this is `w^2 + c - 2 d w`: a line in `w` for each choice,
of which the lower envelope is wanted. The envelope is found once, a choice is then a look-up. Where one partner is
stuck at `g`, the other one chooses for `w + g`, or for `g - w`, among single states.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hrat.physics import expected_S, sigma_S
from hrat.spec import HardwareSpec

__all__ = ["PairChoice"]

CONTINUOUS_STATES = 513
"""Stand-ins for a conductance that may take any value in the window."""


@dataclass(frozen=True)
class _Envelope:
    """Choices and where each is best."""

    breaks: Tensor
    """`w` at which one choice gives way to the next, ascending, `(choices - 1,)`."""
    value: Tensor
    """Mean of each choice, S."""
    variance: Tensor
    """Variance of each choice, S^2."""
    number: Tensor
    """Index of each choice among those offered."""

    @classmethod
    def of(cls, value: Tensor, variance: Tensor) -> _Envelope:
        """The lower envelope of `variance + (w - value)^2` over all choices, of which each tensor holds one number."""
        # By ascending value; of equal values the least variance first.
        order = variance.argsort(stable=True)
        order = order[value[order].argsort(stable=True)]
        values, constants = value[order].tolist(), (value.square() + variance)[order].tolist()
        kept: list[int] = []
        breaks: list[float] = []
        for k, (d, c) in enumerate(zip(values, constants, strict=True)):
            if kept and d <= values[kept[-1]]:
                continue
            while kept:
                cross = (c - constants[kept[-1]]) / (2 * (d - values[kept[-1]]))
                if not breaks or cross > breaks[-1]:
                    breaks.append(cross)
                    break
                kept.pop()
                breaks.pop()
            kept.append(k)
        number = order[torch.tensor(kept)]
        return cls(torch.tensor(breaks, dtype=value.dtype), value[number], variance[number], number)

    def best(self, wanted: Tensor) -> Tensor:
        """The envelope's choice for each wanted value."""
        return torch.bucketize(wanted, self.breaks)


class PairChoice:
    """The states of a device and the best of them; made once for a spec, in double precision."""

    def __init__(self, spec: HardwareSpec) -> None:
        device = spec.device
        states_S = device.states_S
        if device.n_states is None:
            low, high = states_S[0], states_S[-1]
            states_S = tuple(torch.linspace(low, high, CONTINUOUS_STATES, dtype=torch.float64).tolist())
        self.states_S = torch.tensor(states_S, dtype=torch.float64)
        """Targets that may be asked for, ascending, S."""
        self.spec = spec
        self.single = _Envelope.of(*self.outcome(self.states_S))
        self._pairs: _Envelope | None = None

    def outcome(self, target_S: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the conductance that each target ends at, any shape, S and S^2."""
        spread_S = torch.as_tensor(sigma_S(target_S, self.spec.device, self.spec.programming), dtype=torch.float64)
        return expected_S(target_S, self.spec.programming), spread_S.square().expand_as(target_S)

    def one(self, wanted_S: Tensor) -> Tensor:
        """Target of a single device with the least mean square distance from the wanted conductance, any shape, S."""
        return self.states_S[self.single.number[self.single.best(wanted_S)]]

    def both(self, wanted_S: Tensor) -> tuple[Tensor, Tensor]:
        """Targets of the two partners of a pair that come nearest to the wanted difference, any shape, S."""
        if self._pairs is None:
            mean, variance = self.outcome(self.states_S)
            self._pairs = _Envelope.of((mean[:, None] - mean).flatten(), (variance[:, None] + variance).flatten())
        number = self._pairs.number[self._pairs.best(wanted_S)]
        n = len(self.states_S)
        return self.states_S[number // n], self.states_S[number % n]

    def of_pairs(
        self, wanted_S: Tensor, pos: Tensor, pos_S: Tensor, neg: Tensor, neg_S: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Targets of pairs of which one partner is stuck; of others the nearest pair of states.

        Args:
            wanted_S: wanted differences, any shape, S; the others have the same.
            pos: whether the positive partner is stuck, and
            pos_S: where.
            neg: whether the negative partner is stuck, and
            neg_S: where.
        """
        g_pos_S, g_neg_S = self.both(wanted_S)
        g_pos_S = torch.where(neg, self.one(wanted_S + neg_S), g_pos_S)
        g_neg_S = torch.where(pos, self.one(pos_S - wanted_S), g_neg_S)
        # What is stuck is asked to be where it is, so that nobody pulses it in vain.
        return torch.where(pos, pos_S, g_pos_S), torch.where(neg, neg_S, g_neg_S)

    def expected(self, target_S: Tensor, stuck: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and variance of devices of which some are stuck at their targets, S and S^2."""
        mean_S, variance = self.outcome(target_S)
        if stuck is None:
            return mean_S, variance
        return torch.where(stuck, target_S, mean_S), variance.masked_fill(stuck, 0.0)
