"""A memristor with threshold, and what a pulse does to it.

    i = G v,  G = g_min + w (g_max - g_min),  0 <= w <= 1

    dw/dt = + k (v / v_set - 1)^alpha (1 - w)     v > v_set
          = 0                                     v_reset <= v <= v_set
          = - k (v / v_reset - 1)^alpha w         v < v_reset

after VTEAM (Kvatinsky, Ramadan, Friedman, Kolodny, "VTEAM: a general model for voltage-controlled memristors", IEEE
Trans. Circuits Syst. II 62, 786-790, 2015), with the conductance instead of the resistance linear in the state and with
linear windows. The state is the voltage of a capacitor of 1 F that a current of dw/dt amperes charges. Limits: rate and
exponent are typical numbers, not fitted to a device; no noise, no temperature, no drift.
"""

from __future__ import annotations

from dataclasses import dataclass

from hrat.simulation.spice.circuit import CircuitError, Dialect, Floats, SpiceOptions
from hrat.simulation.spice.dialects import behavioural, check_dialect, kept, number, options_lines
from hrat.simulation.spice.ngspice import find_ngspice
from hrat.simulation.spice.runner import run_netlist
from hrat.spec import HardwareSpec

__all__ = ["Pulse", "ThresholdMemristor", "memristor_pulse", "pulse_netlist"]

STEPS_OF_A_PULSE = 200.0
EDGE_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class ThresholdMemristor:
    """Parameters of the law."""

    g_min_S: float
    g_max_S: float
    v_set_V: float
    """Set threshold, V: above it the conductance grows."""
    v_reset_V: float
    """Reset threshold, negative, V: below it the conductance falls."""
    rate_Hz: float = 1e6
    """k, the rate at twice the threshold and far from the ends."""
    alpha: float = 3.0

    def __post_init__(self) -> None:
        """Refuse thresholds of the wrong sign."""
        if not (0 < self.g_min_S < self.g_max_S and self.v_reset_V < 0 < self.v_set_V):
            raise CircuitError(f"expected 0 < g_min_S < g_max_S and v_reset_V < 0 < v_set_V, got {self}")
        if not (self.rate_Hz > 0 and self.alpha >= 1):
            raise CircuitError(f"expected rate_Hz > 0 and alpha >= 1, got {self}")

    @classmethod
    def of(cls, spec: HardwareSpec) -> ThresholdMemristor:
        """A device with the window of a spec whose thresholds are at its read voltage."""
        device = spec.device
        return cls(g_min_S=device.g_min_S, g_max_S=device.g_max_S, v_set_V=device.v_read_V, v_reset_V=-device.v_read_V)

    def state_of(self, g_S: float) -> float:
        """The state w that has a conductance.

        Raises:
            CircuitError: `g_S` lies outside of the window.
        """
        if not self.g_min_S <= g_S <= self.g_max_S:
            raise CircuitError(
                f"expected a conductance within the window, {self.g_min_S:g} to {self.g_max_S:g} S, got {g_S:g} S; "
                "errors of programming may lie beyond: give the memristor wider g_min_S and g_max_S"
            )
        return (g_S - self.g_min_S) / (self.g_max_S - self.g_min_S)

    def conductance_of(self, state: Floats) -> Floats:
        """Conductance of a state, any shape, S: the inverse of `state_of`."""
        g_S: Floats = self.g_min_S + (self.g_max_S - self.g_min_S) * state
        return g_S

    def subcircuit(self, name: str, dialect: Dialect) -> str:
        """`name plus minus state`: the device. The voltage of `state` is w, to be given at the start (`.ic`)."""
        over = "max({sign}v(plus,minus)*{inverse}-1,0)"
        up = over.format(sign="", inverse=number(1.0 / self.v_set_V))
        down = over.format(sign="-", inverse=number(-1.0 / self.v_reset_V))
        rate, alpha = number(self.rate_Hz), number(self.alpha)
        drift = f"{rate}*(pow({up},{alpha})*(1-v(state))-pow({down},{alpha})*v(state))"
        current = f"v(plus,minus)*({number(self.g_min_S)}+{number(self.g_max_S - self.g_min_S)}*v(state))"
        return "\n".join(
            [
                f".subckt {name} plus minus state",
                behavioural("device", "plus", "minus", "I", current, dialect),
                behavioural("drift", "0", "state", "I", drift, dialect),
                "Cstate state 0 1",
                f".ends {name}",
            ]
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Pulse:
    """A memristor under a pulse, each field `(points,)`."""

    times_s: Floats
    v_V: Floats
    g_S: Floats
    """Conductance."""


def memristor_pulse(
    memristor: ThresholdMemristor,
    g_S: float,
    v_V: float,
    width_s: float,
    options: SpiceOptions | None = None,
) -> Pulse:
    """Apply one pulse and watch the conductance, from the pulse's begin until as long after its end.

    Args:
        memristor: the device.
        g_S: its conductance before, S.
        v_V: height of the pulse, of either sign, V.
        width_s: its length, s.
        options: how to run ngspice.

    Raises:
        CircuitError: the conductance lies outside of the window, or the pulse has no length.
        SpiceFailure: there is no solution.
    """
    options = options or SpiceOptions()
    program = find_ngspice(options.ngspice)
    text = pulse_netlist(memristor, g_S, v_V, width_s, options, klu=program.has_klu)
    plot = run_netlist(program, [text], time_limit_s=options.time_limit_s, keep=options.keep)[-1]
    return Pulse(times_s=plot["time"], v_V=plot["v(top)"], g_S=memristor.conductance_of(plot["v(state)"]))


def pulse_netlist(
    memristor: ThresholdMemristor,
    g_S: float,
    v_V: float,
    width_s: float,
    options: SpiceOptions | None = None,
    *,
    dialect: Dialect = "ngspice",
    klu: bool = True,
) -> str:
    """The netlist that `memristor_pulse` solves; arguments as there, and as those of `netlist`."""
    check_dialect(dialect)
    if not width_s > 0:
        raise CircuitError(f"width_s: expected a pulse longer than 0 s, got {width_s} s")
    edge_s, step_s = EDGE_SHARE * width_s, width_s / STEPS_OF_A_PULSE
    corners = [(0.0, 0.0), (edge_s, v_V), (width_s - edge_s, v_V), (width_s, 0.0)]
    lines = [
        "* one pulse on a memristor with threshold; v(state) runs from 0 (g_min) to 1 (g_max)",
        memristor.subcircuit("memristor", dialect),
        f"Vtop top 0 PWL({' '.join(f'{number(t)} {number(v)}' for t, v in corners)})",
        "Xdevice top 0 state memristor",
        f".ic v(state)={number(memristor.state_of(g_S))}",
        *options_lines(options or SpiceOptions(), dialect, klu=klu, analysis="tran"),
        f".tran {number(step_s)} {number(2.0 * width_s)} 0 {number(step_s)}",
        kept(["top", "state"], dialect, analysis="tran"),
        ".end",
    ]
    return "\n".join(lines) + "\n"
