"""Output of the verbs: results on stdout, all else on stderr; with `--json` one JSON object on stdout and no more."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer

from hrat.names import plain_text

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from hrat.spec import HardwareSpec

__all__ = [
    "Patience",
    "examples",
    "finish",
    "next_step",
    "note_warnings",
    "picture",
    "say",
    "show",
    "start",
    "tell",
    "warn",
    "wrote",
]


class _Told:
    """Output of a verb so far, for JSON; None where it is printed at once."""

    data: dict[str, Any] | None = None


def start(as_json: bool) -> None:
    """Begin the output of a verb."""
    _Told.data = {} if as_json else None


def finish() -> None:
    """End the output of a verb: print its JSON."""
    if _Told.data is not None:
        typer.echo(json.dumps(_Told.data, indent=1, default=str))
        _Told.data = None


def tell(**values: Any) -> None:
    """Figures for scripts, by names that stay, with SI units in them; people get them in tables."""
    if _Told.data is not None:
        _Told.data.update(values)


def examples(*commands: str) -> str:
    """The end of a help page; each command in a line of its own."""
    return "\n\n".join(["Examples:", *(f"[cyan]$ {command}[/]" for command in commands)])


def say(text: str, *, nl: bool = True) -> None:
    """Print a result in words; with JSON it stands in `said`."""
    if _Told.data is None:
        typer.echo(plain_text(text), nl=nl)
    else:
        _Told.data.setdefault("said", []).append(text)


def show(table: RenderableType) -> None:
    """Print a table; for JSON, `tell` has its figures."""
    if _Told.data is not None:
        if isinstance(table, str):
            say(table)
        return
    from rich.console import Console

    from hrat.cli.narrow import fitted

    console = Console(emoji=False)
    for part in fitted(table, console):
        console.print(part)


def wrote(paths: Iterable[Path]) -> None:
    """Print the files that were written."""
    for path in paths:
        if _Told.data is None:
            typer.echo(plain_text(f"wrote {path}"))
        else:
            _Told.data.setdefault("wrote", []).append(str(path))


def picture(path: Path) -> None:
    """Print the path of the picture, unless it could not be drawn."""
    if path.is_file():
        say(f"picture: {path}")


def next_step(*words: object) -> None:
    """Print the next command, quoted for a shell."""
    command = shlex.join(str(word) for word in words)
    if _Told.data is None:
        typer.echo(plain_text(f"next: {command}"))
    else:
        _Told.data["next"] = command


def note_warnings(spec: HardwareSpec) -> None:
    """Print the warnings of a spec."""
    for warning in spec.warnings():
        warn(warning)


def warn(text: str) -> None:
    """Print a warning."""
    if _Told.data is not None:
        _Told.data.setdefault("warnings", []).append(text)
    typer.secho("warning: ", fg=typer.colors.YELLOW, nl=False, err=True)
    typer.echo(plain_text(text), err=True)


FIRST_WORD_S, NEXT_WORD_S = 5.0, 30.0


class Patience:
    """Progress messages while another program solves circuits."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._next_s = FIRST_WORD_S

    def __call__(self, done: int, total: int) -> None:
        """Parts of the circuit that are solved, and how many there are."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        elapsed_s = now - self._since
        if elapsed_s >= self._next_s:
            self._next_s = elapsed_s + NEXT_WORD_S
            parts = f", {done} of {total} parts of the circuit at hand done" if total > 1 else ""
            typer.echo(f"ngspice is solving circuits: {elapsed_s:.0f} s so far{parts}", err=True)
