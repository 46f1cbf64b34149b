"""Pulse sweeps -> window, pulse model, spreads and stuck devices.

Modules follow the way of the data: which devices move (`devices`), which polarity sets (`polarity`), single steps
(`steps`), the ends of the window (`window`), the fit of soft bounds or equal steps (`pulse_fit`, which tells how) or
a table (`jump_table`), and the choice between them (`model`).
"""

from __future__ import annotations

from hrat.measurements.fit.sweeps.sweep_fit import fit_sweeps
from hrat.measurements.fit.sweeps.sweep_result import SweepFit

__all__ = ["SweepFit", "fit_sweeps"]
