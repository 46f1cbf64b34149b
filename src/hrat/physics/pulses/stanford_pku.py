"""Stanford-PKU model: a conductive filament with a gap that ions close (set) and open (reset).

X. Guan, S. Yu, H.-S. P. Wong, IEEE EDL 33, 1405, 2012; Z. Jiang et al., IEEE TED 63, 1884, 2016:

    I       = i0 exp(-gap / g0) sinh(V / v0)
    T       = ambient + |V I| r_thermal
    dgap/dt = -velocity exp(-activation / kT) sinh(e hop gamma V / (thickness kT))
    gamma   = gamma0 - beta (gap / gap_ref)^alpha

A positive voltage closes the gap. In set a selector may hold the current to `compliance_A`; the device then sees no
more than the voltage at which that current flows.

Limits: one filament, a temperature that follows at once, no random telegraph noise; where the field's enhancement gamma
would fall below zero it is zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hrat.physics.constants import BOLTZMANN_EV_K
from hrat.spec import StanfordPku

__all__ = ["current_A", "gap_of_conductance_m", "gap_speed_m_s"]


def current_A(gap_m: Tensor, voltage_V: Tensor | float, figures: StanfordPku) -> Tensor:
    """Current at a gap and a voltage, any shapes that broadcast, A."""
    voltage = torch.as_tensor(voltage_V, dtype=gap_m.dtype, device=gap_m.device)
    return figures.i0_A * torch.exp(-gap_m / figures.g0_m) * torch.sinh(voltage / figures.v0_V)


def gap_of_conductance_m(g_S: Tensor, v_read_V: float, figures: StanfordPku) -> Tensor:
    """The gap at which `I(v_read) / v_read` is `g_S`, any shape, m; not clamped to the figures' limits."""
    one = torch.as_tensor(v_read_V / figures.v0_V, dtype=g_S.dtype, device=g_S.device)
    return -figures.g0_m * torch.log(g_S * v_read_V / (figures.i0_A * torch.sinh(one)))


def gap_speed_m_s(gap_m: Tensor, voltage_V: float, figures: StanfordPku) -> Tensor:
    """`dgap/dt`, in metres per second: negative under a positive voltage.

    Args:
        gap_m: any shape, m.
        voltage_V: voltage of the pulse, V.
        figures: the model's.
    """
    voltage = torch.full_like(gap_m, voltage_V)
    if voltage_V > 0 and figures.compliance_A is not None:
        held = figures.v0_V * torch.asinh(figures.compliance_A * torch.exp(gap_m / figures.g0_m) / figures.i0_A)
        voltage = torch.minimum(voltage, held)
    power_W = (voltage * current_A(gap_m, voltage, figures)).abs()
    thermal_V = BOLTZMANN_EV_K * (figures.ambient_K + power_W * figures.r_thermal_K_W)
    gamma = (figures.gamma0 - figures.beta * (gap_m / figures.gap_ref_m) ** figures.alpha).clamp(min=0.0)
    field = figures.hop_m * gamma * voltage / (figures.thickness_m * thermal_V)
    return -figures.velocity_m_s * torch.exp(-figures.activation_eV / thermal_V) * torch.sinh(field)
