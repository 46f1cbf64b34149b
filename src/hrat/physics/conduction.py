"""Current of a device by its voltage: ohmic, or curved.

    i = G u_0 sinh(u / u_0)

the form of hopping and of tunnelling through a barrier at low voltages; `G` is the conductance at small ones. Behind
ideal wires all devices of a word line have its voltage, so that with one `u_0` for all of them curved devices are ohmic
ones on word lines at `u_0 sinh(v / u_0)`: exactly, whatever their states. At `v = u_0 / 2` that is 4 % more than `v`.

Limits: one `u_0` for all devices and states; with wires, what the devices draw and what wires take off are told apart
(the nodal solver does not); offsets of amplifiers meet ohmic devices. Source: Simmons, J. Appl. Phys. 34, 1793, 1963
(low voltages); Ielmini, IEEE Trans. Electron Devices 54, 308, 2007.
"""

from __future__ import annotations

from torch import Tensor

from hrat.spec import Device

__all__ = ["conducting_V", "is_curved"]


def is_curved(device: Device) -> bool:
    """Whether devices are not ohmic."""
    return device.limit_curvature and device.curvature_V is not None


def conducting_V(voltage_V: Tensor, device: Device) -> Tensor:
    """Voltage at which an ohmic device would draw the same current, `u_0 sinh(v / u_0)`, any shape, V."""
    if not is_curved(device):
        return voltage_V
    assert device.curvature_V is not None
    return (voltage_V / device.curvature_V).sinh() * device.curvature_V
