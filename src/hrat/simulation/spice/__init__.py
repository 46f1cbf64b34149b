"""Layers and networks in a real SPICE simulator: netlists, runs of ngspice, and what comes of them."""

from __future__ import annotations

from hrat.simulation.spice.circuit import Amplifier, CircuitError, CircuitLayer, SpiceOptions
from hrat.simulation.spice.failure import SpiceFailure
from hrat.simulation.spice.memristor import Pulse, ThresholdMemristor, memristor_pulse
from hrat.simulation.spice.netlist_text import netlist, save_netlist
from hrat.simulation.spice.ngspice import Ngspice, find_ngspice
from hrat.simulation.spice.run import ChainResult, run_chain
from hrat.simulation.spice.settling import Transient, transient
from hrat.simulation.spice.solver import Spice, circuit_layers, linear_chains, rectified_layers

__all__ = [
    "Amplifier",
    "ChainResult",
    "CircuitError",
    "CircuitLayer",
    "Ngspice",
    "Pulse",
    "Spice",
    "SpiceFailure",
    "SpiceOptions",
    "ThresholdMemristor",
    "Transient",
    "circuit_layers",
    "find_ngspice",
    "linear_chains",
    "memristor_pulse",
    "netlist",
    "rectified_layers",
    "run_chain",
    "save_netlist",
    "transient",
]
