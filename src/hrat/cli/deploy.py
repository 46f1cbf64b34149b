"""`hrat deploy`: from a trained network to the targets of its chip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrat.cli.figures import figures
from hrat.cli.options import CsvOption, NetworkOption
from hrat.cli.output import examples, next_step, show, tell, wrote

__all__ = ["EXAMPLES", "deploy"]

EXAMPLES = examples(
    "hrat deploy run -o network.deployment",
    "hrat deploy run -o network.deployment --csv tables",
    "hrat deploy mine --network mynet.py:Net",
    "hrat deploy run -o chip7.deployment --redundancy 2000 --faults chip7.csv",
)
SENSITIVITY_BATCH = 500


def deploy(
    run: Annotated[Path, typer.Argument(metavar="RUN_FOLDER", help="Folder that hrat train wrote.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="File to write.", show_default="RUN_FOLDER/network.deployment"
        ),
    ] = None,
    redundancy: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Memristors to spend on more pairs for the most sensitive layers."),
    ] = 0,
    favour_states: Annotated[
        bool, typer.Option("--favour-states", help="Take the pairs of states that the device programs best.")
    ] = False,
    faults: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Stuck devices of the one chip that this is for: a fault map, or a table (.csv)."
        ),
    ] = None,
    fixed_lines: Annotated[
        bool, typer.Option("--fixed-lines", help="With --faults: leave word and bit lines in their order.")
    ] = False,
    csv: CsvOption = None,
    network: NetworkOption = None,
) -> None:
    """Map a trained network to target conductances, feedback resistances and DAC codes."""
    import hrat
    from hrat.artifacts import FaultMap
    from hrat.experiments import load_run
    from hrat.mapping import choose_redundancy, remap, replicate
    from hrat.mapping import favour_states as favoured
    from hrat.reports import artifact_table
    from hrat.training import load_data, make_loader

    finished = load_run(run, network=network)
    deployment = hrat.deploy(finished.model)
    if redundancy:
        loader = make_loader(load_data(finished.recipe.data).train, SENSITIVITY_BATCH)
        plan = choose_redundancy(finished.model, loader, extra_devices=redundancy)
        deployment = replicate(deployment, plan.copies)
        show(str(plan))
    if favour_states:
        deployment, report = favoured(deployment)
        show(str(report))
    if faults is not None:
        table = faults.suffix == ".csv"
        fault_map = FaultMap.from_csv(faults, deployment) if table else FaultMap.load(faults)
        deployment, report = remap(deployment, fault_map, assign=not fixed_lines)
        show(str(report))
    path = deployment.save(output or run / "network.deployment")
    tell(**figures(deployment))
    show(artifact_table(deployment))
    wrote([path])
    if csv is not None:
        wrote(hrat.export_csv(deployment, csv))
    next_step("hrat", "program", path)
