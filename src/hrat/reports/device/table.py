"""A device fit as a table for the terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table

from hrat.measurements import DeviceFit
from hrat.reports.device.sentences import siemens_text
from hrat.reports.words import count, safe_markup

__all__ = ["fit_table"]


def fit_table(fit: DeviceFit) -> Table:
    """The fitted figures with their standard errors, and what each rests on."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("figure", no_wrap=True, style="bold")
    table.add_column("value +- standard error")
    table.add_column("fitted to")
    for part in fit.parameters:
        table.add_row(part.field, part.text(), safe_markup(part.basis))
    for residuals in fit.residuals:
        table.add_row(
            f"{residuals.direction} sweeps",
            f"rms {siemens_text(residuals.median_rms_S)}, R^2 {residuals.median_r_squared:.4f}",
            f"{count(len(residuals.rms_S), 'sweep')}, the median of them",
        )
    return table
