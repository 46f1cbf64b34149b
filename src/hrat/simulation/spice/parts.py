"""The building blocks around an array, each as a subcircuit or a line.

The amplifier within its limits, in a form on which Newton's method converges. With an internal node t,

    v_out = clamp(t),      v_plus - v_minus = t / A + (t - clamp(t))

is the same characteristic as `v_out = clamp(A (v_plus - v_minus))`, since beyond a limit t is free to take up whatever
the input is. Written the plain way, the characteristic has no slope beyond its limits and 1/A of the input range within
them, and Newton's steps leap from one limit to the other for ever. In t the closed loop is a monotone function of
straight pieces whose slopes lie between the feedback factor and 1, and the steps end after a few.

With a capacitor of `1 / (2 pi gbw)` at t the amplifier gets its single pole: within the limits
`dt/dt = 2 pi gbw (v_plus - v_minus - t / A)`; beyond them t stops at once, so that the amplifier does not wind up.
"""

from __future__ import annotations

import math
from typing import Literal

from hrat.simulation.spice.circuit import Amplifier, Dialect
from hrat.simulation.spice.dialects import behavioural, clamped, number

__all__ = ["clamp", "input_error_kind", "inverter", "transimpedance"]


def transimpedance(
    name: str,
    r_f_ohm: float,
    limits_V: tuple[float, float],
    amplifier: Amplifier,
    dialect: Dialect,
    *,
    dynamic: bool = False,
) -> str:
    """A subcircuit `name error sum out`: the current into `sum` becomes `v(out) = -R_f i`, within limits.

    What is wrong at the input comes in at `error`. Of an ideal amplifier it is a node at the voltage of the error. Of
    one with a gain it is the node t, into which a source drives as many amperes as there are volts: a node more at each
    input would lead the solver to an order of elimination that fills the matrix.

    Args:
        name: name of the subcircuit.
        r_f_ohm: feedback resistance.
        limits_V: lowest and highest output.
        amplifier: the op-amp; at DC one without a gain is a current-controlled source, its virtual ground exact.
        dialect: dialect of SPICE.
        dynamic: with the amplifier's pole, for transients.
    """
    if amplifier.gain is None and not dynamic:
        return _ideal(name, r_f_ohm, limits_V, dialect)
    output = clamped("v(t)", *limits_V)
    drive = "-v(sum)"
    if amplifier.gain is not None:
        drive += f"-v(t)*{number(1.0 / amplifier.gain)}"
    if output != "v(t)":
        drive += f"-(v(t)-{output})"
    lines = [
        f".subckt {name} t sum out",
        f"Rf sum out {number(r_f_ohm)}",
        behavioural("drive", "0", "t", "I", drive, dialect),
        behavioural("out", "out", "0", "V", output, dialect),
    ]
    if dynamic:
        lines.append(f"Cpole t 0 {number(1.0 / (2.0 * math.pi * amplifier.gbw_Hz))}")
    return "\n".join([*lines, f".ends {name}"])


def _ideal(name: str, r_f_ohm: float, limits_V: tuple[float, float], dialect: Dialect) -> str:
    # R_f as a source of its own, not within the expression: ngspice keeps 10 digits of the numbers in expressions.
    return "\n".join(
        [
            f".subckt {name} ref sum out",
            "Vsum sum ref 0",
            f"Hlinear linear ref Vsum {number(-r_f_ohm)}",
            behavioural("out", "out", "0", "V", clamped("v(linear)", *limits_V), dialect),
            f".ends {name}",
        ]
    )


def input_error_kind(amplifier: Amplifier, *, dynamic: bool = False) -> Literal["V", "I"]:
    """Kind of the source at the pin `error` of `transimpedance`."""
    return "V" if amplifier.gain is None and not dynamic else "I"


def inverter(name: str, node: str, inverted: str) -> str:
    """A buffer of gain -1."""
    return f"E{name} {inverted} 0 {node} 0 -1"


def clamp(name: str, node: str, clamped_node: str, limit_V: float, dialect: Dialect) -> str:
    """A buffer of gain 1 whose output stays within +-limit_V."""
    return behavioural(name, clamped_node, "0", "V", clamped(f"v({node})", -limit_V, limit_V), dialect)
