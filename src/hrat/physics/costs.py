"""Time and energy of a read-out.

A transimpedance amplifier of gain-bandwidth product `GBW` holds a bit line of total conductance `G` with a feedback
resistance `R_f`. Its noise gain is `1 + R_f G`, so that the loop closes at `f_c = GBW / (1 + R_f G)` and the output
settles as `exp(-2 pi f_c t)`: to half a step of `bits` bits after

    t = ln(2) (bits + 1) / (2 pi f_c)

(S. Franco, Design with Operational Amplifiers and Analog Integrated Circuits, ch. 6). More devices on a line thus make
a read-out slower, in proportion. Limits: one pole, no slewing, no capacitance of the line or of the feedback.

A device at `v` against virtual ground takes the power `v^2 G`. Its current comes from a supply of `+-V_s`, of which
the driver's output stage loses `|v| (V_s - |v|) G`.

A converter takes energy in proportion to its `2^bits` codes (the figure of merit of R. H. Walden, JSAC 1999).
"""

from __future__ import annotations

import math

__all__ = ["conversion_J", "settling_s"]


def settling_s(r_f_ohm: float, g_line_S: float, gbw_Hz: float, bits: int) -> float:
    """Time after which the amplifier of a bit line is within half a step of its final value, s.

    Args:
        r_f_ohm: feedback resistance.
        g_line_S: all conductances on the bit line together.
        gbw_Hz: gain-bandwidth product of the amplifier.
        bits: accuracy to settle to, over the full range.
    """
    closed_loop_Hz = gbw_Hz / (1 + r_f_ohm * g_line_S)
    return math.log(2) * (bits + 1) / (2 * math.pi * closed_loop_Hz)


def conversion_J(bits: int, per_code_J: float) -> float:
    """Energy of one conversion, J."""
    return math.ldexp(per_code_J, bits)
