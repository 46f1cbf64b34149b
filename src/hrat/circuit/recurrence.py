"""Recurrent cells: what is computed digitally, step by step, with the products of two crossbars.

    from_input = W_x x + b_x        of all time steps, from one crossbar
    from_state = W_h h + b_h        of this time step, from another one: a DAC in front of h, an ADC behind the product

The formulas are those of `torch.nn.LSTM`, `GRU` and `RNN`, with their order of gates; training and simulation share
them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["CELLS", "Cell", "through_time"]

Step = Callable[[Tensor, Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Cell:
    """One kind of recurrent cell."""

    step: Step
    """`(from_input, from_state, states) -> states`; the first of the states is the output."""
    gates: int
    """Size of the products, in multiples of the hidden size."""
    states: int
    """Number of state tensors."""


def _lstm(from_input: Tensor, from_state: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    i, f, g, o = (from_input + from_state).chunk(4, dim=-1)
    c = torch.sigmoid(f) * states[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _gru(from_input: Tensor, from_state: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    input_r, input_z, input_n = from_input.chunk(3, dim=-1)
    state_r, state_z, state_n = from_state.chunk(3, dim=-1)
    r, z = torch.sigmoid(input_r + state_r), torch.sigmoid(input_z + state_z)
    n = torch.tanh(input_n + r * state_n)
    return ((1 - z) * n + z * states[0],)


def _rnn_tanh(from_input: Tensor, from_state: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (torch.tanh(from_input + from_state),)


def _rnn_relu(from_input: Tensor, from_state: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (torch.relu(from_input + from_state),)


CELLS: dict[str, Cell] = {
    "lstm": Cell(_lstm, 4, 2),
    "gru": Cell(_gru, 3, 1),
    "rnn_tanh": Cell(_rnn_tanh, 1, 1),
    "rnn_relu": Cell(_rnn_relu, 1, 1),
}


def through_time(
    kind: str,
    from_input: Tensor,
    states: Sequence[Tensor | None],
    product: Callable[[Tensor], Tensor],
    *,
    time_dim: int,
    reverse: bool,
) -> tuple[Any, ...]:
    """Work through a sequence.

    Args:
        kind: a key of `CELLS`.
        from_input: `(time, batch, gates * hidden)`, or `(batch, time, ...)` with `time_dim=1`.
        states: before the first step, each `(batch, hidden)`; None for zeros.
        product: `(batch, hidden) -> (batch, gates * hidden)`: what the crossbar of the state and its converters yield.
        time_dim: which dimension is time.
        reverse: from the last step to the first.

    Returns:
        Outputs `(time, batch, hidden)`, time where it was, and the last states.
    """
    cell = CELLS[kind]
    steps = list(from_input.unbind(time_dim))
    zeros = steps[0].new_zeros(steps[0].shape[0], steps[0].shape[1] // cell.gates)
    now = tuple(zeros if state is None else state for state in states)
    outputs = []
    for step in reversed(steps) if reverse else steps:
        now = cell.step(step, product(now[0]), now)
        outputs.append(now[0])
    if reverse:
        outputs.reverse()
    return (torch.stack(outputs, dim=time_dim), *now)
