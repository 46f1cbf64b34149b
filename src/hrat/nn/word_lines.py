"""Voltages of a crossbar's word lines in a forward pass."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from hrat.encoding import Geometry
from hrat.nn.straight_through import apply_to_digital_input
from hrat.physics import clamp_to, conducting_V, is_curved
from hrat.spec import Device, HardwareSpec

__all__ = ["WordLines"]


@dataclass(frozen=True)
class WordLines:
    """Voltages of the word lines, and where they come from."""

    geometry: Geometry
    voltage: Tensor
    """V."""
    digital: Tensor | None
    """Digital values that the input DAC converts to `voltage`, given where their own gradient is not wanted."""
    alpha: Tensor
    limit_V: float
    """Full scale of the input DAC, V."""

    @classmethod
    def driven(
        cls,
        voltage: Tensor,
        geometry: Geometry,
        spec: HardwareSpec,
        *,
        alpha: Tensor,
        digital: Tensor | None,
        within_read: bool,
    ) -> WordLines:
        """`clamp_read(v)`.

        Args:
            voltage: V, `(..., in)` or `(batch, in, *space)`.
            geometry: the operation.
            spec: the hardware.
            alpha: scale of the signal, V per unit.
            digital: the digital values that the input DAC converted to `voltage`, given where only the gradient of
                `alpha` is wanted, not their own.
            within_read: `voltage` is known to be within the read threshold.
        """
        device, periphery = spec.device, spec.periphery
        if device.limit_read_voltage and not within_read:
            voltage = clamp_to(voltage, device.v_read_V)
        saturates = device.limit_read_voltage or (periphery.limit_input_dac and periphery.input_dac_bits is not None)
        return cls(geometry, voltage, digital, alpha, device.v_read_V if saturates else math.inf)

    def apply(self, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """`weight @ voltage + bias`, convolution or not: `(..., out)` or `(batch, out, *space)`."""
        if self.digital is None:
            return self.geometry.apply(self.voltage, weight, bias)
        return apply_to_digital_input(
            self.geometry, self.voltage, weight, bias, x=self.digital, alpha=self.alpha, limit_V=self.limit_V
        )

    def apply_as(self, geometry: Geometry, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """`apply` of an operation that differs from this one in the number of its outputs."""
        return replace(self, geometry=geometry).apply(weight, bias)

    def curved(self, device: Device) -> WordLines:
        """Word lines of ohmic devices that draw the current of curved ones."""
        if not is_curved(device):
            return self
        # The gradient of the scale of a digital input is that of a voltage in proportion to it.
        return replace(self, voltage=conducting_V(self.voltage, device), digital=None)

    def first(self, count: int) -> WordLines:
        """The word lines for the first images of the batch."""
        digital = None if self.digital is None else self.digital[:count]
        return replace(self, voltage=self.voltage[:count], digital=digital)
