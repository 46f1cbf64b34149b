"""Errors on the command line: one message, no traceback, and an exit code that scripts can rely on.

2 stands for a mistake that the user can mend, 3 for circuits that could not be solved, 130 for Ctrl-C, 143 for SIGTERM
and 129 for SIGHUP (as shells have it), 1 for a fault of hrat itself.
"""

from __future__ import annotations

import errno
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from hrat.cli.output import Patience, finish, start, tell
from hrat.errors import HratError
from hrat.names import plain_text
from hrat.processes import Stopped, orderly_end, while_waiting

__all__ = ["GROUPS", "GROUP_OF", "UNSOLVED", "Verbs", "explain"]

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MISTAKE, UNSOLVED, INTERRUPTED = 2, 3, 130

GROUPS = {
    "Start": ("demo", "doctor", "recipes"),
    "Hardware": ("spec", "device"),
    "Train": ("train", "compare", "sweep", "reproduce"),
    "Build the chip": ("deploy", "program", "inspect"),
    "Simulate and understand": ("simulate", "verify", "netlist", "budget", "report", "diff"),
}
"""The verbs as a person uses them one after another. A new verb is named here, and in `hrat.cli.app`."""
GROUP_OF = {verb: group for group, verbs in GROUPS.items() for verb in verbs}
ORDER = tuple(GROUP_OF)

REFUSAL: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""Exception for a command that cannot be understood; older versions of typer take it from click."""

# Verbs whose runs are in a folder, where the same command finds them again.
RESUMED = ("train", "compare", "sweep", "reproduce", "demo")


class Verbs(TyperGroup):
    """The group of all verbs, with the one place where errors become messages."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The verbs as they are used one after another; typer would put groups last."""
        return sorted(super().list_commands(ctx), key=ORDER.index)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept `--debug` and `--json` anywhere in the command."""
        for option in ("--debug", "--json"):
            if option in args:
                args = [option, *(arg for arg in args if arg != option)]
        as_json = "--json" in args  # asked now: parsing empties the list
        try:
            return super().parse_args(ctx, args)
        except REFUSAL as error:
            start(as_json)
            _tell_refusal(error)
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        start(bool(ctx.params.get("as_json")))
        try:
            with orderly_end(), while_waiting(Patience()):
                outcome = super().invoke(ctx)
            finish()
            return outcome
        except REFUSAL as error:  # typer writes it to stderr, with the usage
            _tell_refusal(error)
            raise
        except typer.Exit:  # a verb that ended early, its figures told
            finish()
            raise
        except BrokenPipeError:  # `hrat spec show x | head`: typer knows how to end quietly
            raise
        except KeyboardInterrupt as error:
            by = f" by {error}" if isinstance(error, Stopped) else ""
            text = f"stopped{by}; {_after_interrupt(ctx.invoked_subcommand)}"
            tell(error=text)
            finish()
            typer.echo(f"\nhrat: {text}", err=True)
            raise typer.Exit(error.exit_code if isinstance(error, Stopped) else INTERRUPTED) from error
        except (HratError, OSError) as error:
            tell(error=explain(error))
            finish()
            if ctx.params.get("debug"):
                typer.echo(plain_text(traceback.format_exc()), err=True)
            typer.secho("hrat: error: ", fg=typer.colors.RED, bold=True, nl=False, err=True)
            typer.echo(plain_text(explain(error)), err=True)
            raise typer.Exit(MISTAKE) from error


def _tell_refusal(error: Exception) -> None:
    """Report a command that cannot be understood as JSON, if JSON is wanted."""
    tell(error=getattr(error, "format_message", error.__str__)())
    finish()


def explain(error: Exception) -> str:
    """An error as a sentence; those of hrat are sentences already."""
    if isinstance(error, HratError) or not isinstance(error, OSError) or error.strerror is None:
        return str(error) or type(error).__name__
    # Where a file takes the place of another, the second one is the one that the user named.
    place = error.filename2 or error.filename
    text = f"{place}: {error.strerror}" if place else error.strerror
    if error.errno in NO_ROOM:
        return f"{text}; free some space and run the same command again (no file was left half written)"
    return text


def _after_interrupt(verb: str | None) -> str:
    if verb in RESUMED:
        return "the same command (without --fresh) goes on from where it was"
    return "no file was left half written"
