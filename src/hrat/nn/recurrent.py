"""Recurrent layers: the state's product on a crossbar of its own, once for each time step.

The devices are one set, programmed once: all steps of a forward pass see the same error. Between two steps the state is
a digital number, so that it passes a DAC, and its product an ADC, at every step.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from hrat.circuit import CELLS, through_time
from hrat.nn.crossbar_layer import CrossbarLayer
from hrat.nn.device_errors import ChipSample
from hrat.nn.numbers import DigitalBorder
from hrat.nn.straight_through import convert_ste
from hrat.physics import digital_value, input_voltage, to_digital_units
from hrat.spec import HardwareSpec

__all__ = ["CrossbarRecurrence", "Recurrence"]


class Recurrence(nn.Module):
    """One direction of one recurrent layer, before conversion; the product of its input is computed in front of it."""

    def __init__(self, kind: str, product: nn.Linear, *, time_dim: int, reverse: bool) -> None:
        """Wrap the operation that the state passes.

        Args:
            kind: a key of `hrat.circuit.recurrence.CELLS`.
            product: `(batch, hidden) -> (batch, gates * hidden)`.
            time_dim: which dimension of the input is time.
            reverse: from the last step to the first.
        """
        super().__init__()
        self.kind = kind
        self.product = product
        self.time_dim = time_dim
        self.reverse = reverse

    def forward(self, from_input: Tensor, *states: Tensor | None) -> tuple[Any, ...]:
        """`(time, batch, gates * hidden)` and states `(batch, hidden)` -> outputs and last states."""
        return through_time(
            self.kind, from_input, self.at_start(states), self.product, time_dim=self.time_dim, reverse=self.reverse
        )

    def at_start(self, states: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        """The states, or None for each of them where none are given."""
        return states or (None,) * CELLS[self.kind].states


class CrossbarRecurrence(DigitalBorder):
    """One direction of one recurrent layer, with the product of its state on a crossbar, between a DAC and an ADC."""

    def __init__(self, loop: Recurrence, product: CrossbarLayer, spec: HardwareSpec) -> None:
        super().__init__()
        self.kind = loop.kind
        self.time_dim = loop.time_dim
        self.reverse = loop.reverse
        self.product = product
        self.spec = spec
        self.word_lines, self.amplifiers = nn.Identity(), nn.Identity()  # for whoever watches the voltages

    def forward(
        self,
        from_input: Tensor,
        states: tuple[Tensor | None, ...],
        alpha_in: Tensor,
        alpha_out: Tensor,
        error: ChipSample | None = None,
    ) -> tuple[Any, ...]:
        """Outputs and last states, in digital units like the arguments.

        The scales `alpha_in` and `alpha_out` are those of the state and of its product.
        """
        if error is None:
            error = self.product.draw_error(alpha_in, alpha_out)  # once: all steps meet the same devices
        layer = self.product.held(alpha_in, alpha_out, error)
        digital = self.product.readout.tiles is not None  # the ADCs are those of its partial sums

        def product(state: Tensor) -> Tensor:
            state = self.into_analog(state)
            voltage = self.word_lines(
                input_voltage(state, alpha_in, self.spec.device, self.spec.periphery, convert_ste)
            )
            out = self.amplifiers(layer(voltage))
            if digital:
                return self.into_digital(to_digital_units(out, alpha_out))
            return self.into_digital(digital_value(out, alpha_out, self.spec.periphery, convert_ste))

        return through_time(self.kind, from_input, states, product, time_dim=self.time_dim, reverse=self.reverse)
