"""The settling of an amplifier against the differential equation that it comes from, and how costs grow."""

from __future__ import annotations

import math

import pytest
from scipy.integrate import solve_ivp

from hrat.physics import conversion_J, settling_s


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("r_f_ohm", "g_line_S"), [(1e3, 20e-3), (5e3, 1e-4), (1e4, 0.0)])
def test_the_settling_time_is_that_of_the_loop(r_f_ohm: float, g_line_S: float, bits: int) -> None:
    gbw_Hz, drive_A = 100e6, 1e-4

    def slope(_: float, out_V: list[float]) -> list[float]:
        # Kirchhoff at the inverting input: what flows in leaves through the feedback resistor and the devices.
        minus_V = (out_V[0] / r_f_ohm + drive_A) / (1 / r_f_ohm + g_line_S)
        return [-2 * math.pi * gbw_Hz * minus_V]

    final_V = -drive_A * r_f_ohm
    time_s = settling_s(r_f_ohm, g_line_S, gbw_Hz, bits)
    solved = solve_ivp(slope, (0, time_s), [0.0], rtol=1e-10, atol=1e-14)
    missing = 1 - solved.y[0, -1] / final_V
    assert missing == pytest.approx(0.5**bits / 2, rel=1e-4)


def test_more_devices_on_a_line_are_slower_and_a_faster_amplifier_is_not() -> None:
    times_s = [settling_s(2e3, g_S, 200e6, 8) for g_S in (0.0, 1e-3, 2e-3, 2e-2)]
    assert times_s == sorted(times_s)
    assert settling_s(2e3, 1e-3, 400e6, 8) == pytest.approx(times_s[1] / 2)
    # Far beyond the feedback's own share the time is in proportion to the conductance.
    assert settling_s(2e3, 20.0, 200e6, 8) == pytest.approx(10 * settling_s(2e3, 2.0, 200e6, 8), rel=1e-3)


def test_a_bit_more_doubles_the_energy_of_a_conversion() -> None:
    assert conversion_J(8, 10.1e-15) == pytest.approx(2.59e-12, rel=1e-2)  # 3.1 mW at 1.2 GS/s
    assert conversion_J(9, 10.1e-15) == 2 * conversion_J(8, 10.1e-15)
