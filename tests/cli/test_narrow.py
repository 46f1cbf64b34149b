"""Tables on narrow terminals: every word of every cell is there, whole, and nothing is wider than the terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from hrat.cli import app

COMMANDS = ["spec list", "recipes", "doctor", "diff generic-4bit yao2020", "inspect a.chips"]


def at_width(command: str, width: int) -> str:
    result = CliRunner(env={"COLUMNS": str(width), "NO_COLOR": "1"}).invoke(app, command.split())
    assert result.exit_code == 0, result.output
    return result.stdout


def words(text: str) -> set[str]:
    return set(re.findall(r"[\w.%/-]+", re.sub(r"-\n", "-", text)))


@pytest.mark.parametrize("width", [40, 60, 80])
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_lost(
    command: str, width: int, make_chips: Callable[[], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    make_chips()
    narrow, wide = at_width(command, width), at_width(command, 400)
    assert "…" not in narrow
    lost = {word for word in words(wide) - words(narrow) if len(word) < width // 3}
    assert not lost
    if command != "doctor":  # which ends with commands to be copied, in one line each
        assert max(cell_len(line) for line in narrow.splitlines()) <= width


def test_a_table_that_fits_stays_a_table() -> None:
    assert "─" in at_width("spec list", 100)
    assert "─" not in at_width("spec list", 40)
