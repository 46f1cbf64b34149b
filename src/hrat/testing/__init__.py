"""The laws and contracts that hrat is built on, for networks, operations, solvers, read-outs and pulse models."""

from __future__ import annotations

from hrat.testing.network_laws import LAWS, check_laws
from hrat.testing.operations import check_operation
from hrat.testing.pulses import check_pulse_model
from hrat.testing.readouts import check_readout
from hrat.testing.report import CheckReport, Finding
from hrat.testing.solvers import check_solver

__all__ = [
    "LAWS",
    "CheckReport",
    "Finding",
    "check_laws",
    "check_operation",
    "check_pulse_model",
    "check_readout",
    "check_solver",
]
