"""`hrat`: the verbs in the order of the pipeline.

Nothing heavy is imported here or at the top of a verb's file: `hrat --help` must not wait for torch.
"""

from __future__ import annotations

from typing import Annotated

import typer

from hrat.cli import (
    budget,
    compare,
    demo,
    deploy,
    inspect,
    netlist,
    program,
    recipes,
    reproduce,
    simulate,
    sweep,
    train,
    verify,
)
from hrat.cli.device import device_app
from hrat.cli.guard import Verbs
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
) -> None:
    """Train networks so that they work, as trained, on memristor crossbars; then build and simulate the chips.

    The way goes train, deploy, program, simulate, verify; compare and demo take all of it at once.
    """


app.command("demo", epilog=demo.EXAMPLES)(demo.demo)
app.command("recipes", epilog=recipes.EXAMPLES)(recipes.recipes)
app.add_typer(spec_app, name="spec")
app.add_typer(device_app, name="device")
app.command("train", epilog=train.EXAMPLES)(train.train)
app.command("deploy", epilog=deploy.EXAMPLES)(deploy.deploy)
app.command("program", epilog=program.EXAMPLES)(program.program)
app.command("simulate", epilog=simulate.EXAMPLES)(simulate.simulate)
app.command("verify", epilog=verify.EXAMPLES)(verify.verify)
app.command("netlist", epilog=netlist.EXAMPLES)(netlist.netlist)
app.command("budget", epilog=budget.EXAMPLES)(budget.budget)
app.command("compare", epilog=compare.EXAMPLES)(compare.compare)
app.command("sweep", epilog=sweep.EXAMPLES)(sweep.sweep)
app.command("reproduce", epilog=reproduce.EXAMPLES)(reproduce.reproduce)
app.command("inspect", epilog=inspect.EXAMPLES)(inspect.inspect)


def main() -> None:
    """The console command."""
    app(prog_name="hrat")
