"""Failures of ngspice by their kind."""

from __future__ import annotations

from typing import Literal

from hrat.simulation.solvers import SolverError

__all__ = ["Reason", "SpiceFailure"]

Reason = Literal[
    "missing",  # no ngspice found, or it does not start
    "too_large",  # for the solver that this ngspice has
    "timeout",
    "killed",  # by a signal from outside, most often for want of memory
    "memory",
    "disk",
    "no_convergence",
    "bad_output",  # it ended well, but what it wrote is not what was asked for
    "failed",  # all else
]

TAIL_LINES = 15


class SpiceFailure(SolverError):  # noqa: N818 - a failure is also handed out as a value
    """A run of ngspice that gave no solution."""

    def __init__(self, reason: Reason, message: str, log: str = "") -> None:
        self.reason: Reason = reason
        """Which kind of failure."""
        self.log = tail(log)
        """The last lines that ngspice wrote."""
        super().__init__(f"{message}\nlast lines of ngspice:\n{self.log}" if self.log else message)


def tail(log: str) -> str:
    """The last lines of a log that are not empty."""
    return "\n".join([line for line in log.splitlines() if line.strip()][-TAIL_LINES:])
