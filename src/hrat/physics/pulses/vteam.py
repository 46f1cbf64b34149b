"""VTEAM: a state that moves where the voltage is beyond a threshold.

S. Kvatinsky, M. Ramadan, E. G. Friedman, A. Kolodny, "VTEAM: a general model for voltage-controlled memristors", IEEE
TCAS II 62, 786, 2015, with the state w from 0 (r_on) to d (r_off) and a polynomial window:

    dw/dt = k_off (v / v_off - 1)^alpha_off f(w / d)         v > v_off > 0     towards r_off
    dw/dt = k_on  (v / v_on  - 1)^alpha_on  f(1 - w / d)     v < v_on < 0      towards r_on
    dw/dt = 0                                                between the thresholds
    R(w)  = r_on + (r_off - r_on) w / d,       f(progress) = (1 - progress)^p

The voltage of a pulse is constant, so that the equation has a closed solution: with s the way that is left (1 at the
start, 0 at the end) and r the relative speed, s^(1-p) falls by (1 - p) r t, and for p = 1 s falls as exp(-r t).

Limits: linear current below the threshold, hard thresholds, no temperature, no series resistance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hrat.spec import Vteam

__all__ = ["after_pulse_S", "relative_speed"]


def relative_speed(voltage_V: Tensor, vteam: Vteam) -> Tensor:
    """`dw/dt` without its window, in lengths d per second: positive towards r_off, negative towards r_on, 0 between."""
    off = vteam.k_off_m_s * (voltage_V / vteam.v_off_V - 1).clamp(min=0.0) ** vteam.alpha_off
    on = vteam.k_on_m_s * (voltage_V / vteam.v_on_V - 1).clamp(min=0.0) ** vteam.alpha_on
    return torch.where(voltage_V > 0, off, on) / vteam.d_m


def after_pulse_S(g_S: Tensor, voltage_V: Tensor | float, width_s: Tensor | float, vteam: Vteam) -> Tensor:
    """Conductance after a pulse, in siemens; differentiable in the tensors.

    Args:
        g_S: conductance before, within 1 / r_off_ohm and 1 / r_on_ohm, any shape, S.
        voltage_V: amplitude in VTEAM's sign (positive raises the resistance), broadcast against `g_S`, V.
        width_s: width, s.
        vteam: the figures.
    """
    voltage = torch.as_tensor(voltage_V, dtype=g_S.dtype, device=g_S.device)
    state = ((1 / g_S - vteam.r_on_ohm) / (vteam.r_off_ohm - vteam.r_on_ohm)).clamp(0.0, 1.0)
    speed = relative_speed(voltage, vteam)
    left = torch.where(speed > 0, 1 - state, state)
    way = speed.abs() * width_s
    q = 1 - vteam.window_p
    # For q < 0 the end is never reached, and an exact 0 stays there: 0 to a negative power is infinite, as it must.
    left = left * torch.exp(-way) if q == 0 else (left**q - q * way).clamp(min=0.0) ** (1 / q)
    state = torch.where(speed > 0, 1 - left, left)
    return 1 / (vteam.r_on_ohm + (vteam.r_off_ohm - vteam.r_on_ohm) * state)
