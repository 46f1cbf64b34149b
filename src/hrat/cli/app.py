"""`hrat`: the verbs in the order of the pipeline.

Nothing heavy is imported here or at the top of a verb's file: `hrat --help` must not wait for torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from hrat.cli import (
    budget,
    compare,
    demo,
    deploy,
    diff,
    doctor,
    inspect,
    netlist,
    program,
    recipes,
    report,
    reproduce,
    simulate,
    sweep,
    train,
    verify,
)
from hrat.cli.device import device_app
from hrat.cli.guard import GROUP_OF, Verbs
from hrat.cli.output import examples
from hrat.cli.spec import spec_app

__all__ = ["app", "main"]

app = typer.Typer(
    name="hrat",
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode="rich",
    # A mistake of the user's never comes this far (see guard); a fault of hrat's is for a plain traceback.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("hrat demo --quick", "hrat train lenet5-mnist5k -o run", "hrat train --help"),
)


def _show_version(wanted: bool) -> None:
    if wanted:
        import hrat

        typer.echo(f"hrat {hrat.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", envvar="HRAT_DEBUG", help="Show the traceback of an error; works after a verb too."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object in place of tables; works after a verb too.")
    ] = False,
) -> None:
    """Train networks so that they work, as trained, on memristor crossbars; then build and simulate the chips.

    The way goes train, deploy, program, simulate, verify; compare and demo take all of it at once.
    """


VERBS: dict[str, tuple[Callable[..., None], str]] = {
    "demo": (demo.demo, demo.EXAMPLES),
    "doctor": (doctor.doctor, doctor.EXAMPLES),
    "recipes": (recipes.recipes, recipes.EXAMPLES),
    "train": (train.train, train.EXAMPLES),
    "compare": (compare.compare, compare.EXAMPLES),
    "sweep": (sweep.sweep, sweep.EXAMPLES),
    "reproduce": (reproduce.reproduce, reproduce.EXAMPLES),
    "deploy": (deploy.deploy, deploy.EXAMPLES),
    "program": (program.program, program.EXAMPLES),
    "inspect": (inspect.inspect, inspect.EXAMPLES),
    "simulate": (simulate.simulate, simulate.EXAMPLES),
    "verify": (verify.verify, verify.EXAMPLES),
    "netlist": (netlist.netlist, netlist.EXAMPLES),
    "budget": (budget.budget, budget.EXAMPLES),
    "report": (report.report, report.EXAMPLES),
    "diff": (diff.diff, diff.EXAMPLES),
}
for _name, (_function, _examples) in VERBS.items():
    app.command(_name, epilog=_examples, rich_help_panel=GROUP_OF[_name])(_function)
app.add_typer(spec_app, name="spec", rich_help_panel=GROUP_OF["spec"])
app.add_typer(device_app, name="device", rich_help_panel=GROUP_OF["device"])


def main() -> None:
    """The console command."""
    app(prog_name="hrat")
