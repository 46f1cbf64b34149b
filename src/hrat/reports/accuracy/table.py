"""Accuracy over chips as a table for the terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table

from hrat.artifacts import SimulationResult
from hrat.reports.words import percent, safe_markup

__all__ = ["simulation_table"]


def simulation_table(result: SimulationResult) -> Table:
    """The accuracy of each chip of a simulation, and why a chip has none."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("chip (seed)", justify="right")
    table.add_column("accuracy", justify="right")
    accuracies = list(result.accuracies or ())
    for place, seed in enumerate(result.seeds):
        if seed in result.failures:
            table.add_row(str(seed), f"[red]failed: {safe_markup(result.failures[seed])}[/]")
        elif accuracies:
            mark = " [red]worst[/]" if accuracies[place] == result.worst and len(accuracies) > 1 else ""
            table.add_row(str(seed), percent(accuracies[place]) + mark)
    return table
