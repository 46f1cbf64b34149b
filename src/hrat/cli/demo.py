"""`hrat demo`: the whole way on data that needs no download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrat.cli.output import examples, picture, say, show

__all__ = ["EXAMPLES", "demo"]

EXAMPLES = examples("hrat demo", "hrat demo --quick -o first-look")


def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where runs, table and picture go.")
    ] = Path("hrat-demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Train for two epochs only: shows that all works, not what it can do.")
    ] = False,
) -> None:
    """Train a small network by several methods for a poor device, put each on 20 chips, and compare them."""
    from hrat.experiments import demo as run_demo
    from hrat.reports import comparison_table

    comparison = run_demo(output, quick=quick, progress=True)
    show(comparison_table(comparison))
    if quick:
        say("two epochs show that all works, not what the methods can do: hrat demo trains them for longer")
    picture(output / "comparison.png")
    say("next: hrat recipes             other networks and data")
    say("      hrat spec list           other hardware, or a spec of your own")
    say(f"      hrat deploy {output / 'run-hrat'}   the chip of the network that HRAT trained")
