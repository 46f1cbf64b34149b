"""How the verbs talk: results on stdout, all else on stderr."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from hrat.spec import HardwareSpec

__all__ = ["examples", "next_step", "note_warnings", "show", "warn", "wrote"]


def examples(*commands: str) -> str:
    """The end of a help page; each command in a line of its own."""
    return "\n\n".join(["Examples:", *(f"[cyan]$ {command}[/]" for command in commands)])


def show(table: RenderableType) -> None:
    """Print a table."""
    from rich.console import Console

    Console().print(table)


def wrote(paths: Iterable[Path]) -> None:
    """Say which files were written."""
    for path in paths:
        typer.echo(f"wrote {path}")


def next_step(command: str) -> None:
    """Say how to go on."""
    typer.echo(f"next: {command}")


def note_warnings(spec: HardwareSpec) -> None:
    """Say what is odd about a spec."""
    for warning in spec.warnings():
        warn(warning)


def warn(text: str) -> None:
    """Say what is not wrong, and probably not meant."""
    typer.secho("warning: ", fg=typer.colors.YELLOW, nl=False, err=True)
    typer.echo(text, err=True)
