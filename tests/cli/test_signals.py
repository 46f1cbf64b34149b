"""Signals that ask `hrat` to end, or end it: nothing that it has started or made stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.shell import Shell
from hrat.cli.output import Patience

HRAT = [sys.executable, "-c", "from hrat.cli import main; main()"]

NGSPICE = """#!/bin/sh
case "$*" in
*--version*) echo "ngspice-44.2, with KLU" ;;
*probe.cir*) echo "Using KLU as Direct Linear Solver" ;;
*) sleep 600 & echo "$$ $!" >> "$TOLD"; wait ;;
esac
"""


def wait_until(holds: Callable[[], bool], limit_s: float = 60.0) -> bool:
    until = time.monotonic() + limit_s
    while not holds() and time.monotonic() < until:
        time.sleep(0.05)
    return holds()


def lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    return not (state.is_file() and state.read_text().rpartition(")")[2].split()[0] == "Z")


def start(tmp_path: Path, *words: object, **variables: str) -> subprocess.Popen[str]:
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp"), **variables}
    command = [*HRAT, *map(str, words)]
    return subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_ngspice_and_no_folder_outlives_it(
    tmp_path: Path, make_chips: Callable[[], Path], number: signal.Signals
) -> None:
    chips = make_chips()
    (tmp_path / "ngspice").write_text(NGSPICE)
    (tmp_path / "ngspice").chmod(0o755)
    told = tmp_path / "told"
    told.touch()
    words = ("simulate", chips, "--data", "mnist5k", "--limit", "4", "--solver", "spice")
    process = start(tmp_path, *words, TOLD=str(told), HRAT_NGSPICE=str(tmp_path / "ngspice"))
    enough = min(2, os.cpu_count() or 1)
    assert wait_until(lambda: len(told.read_text().splitlines()) >= enough)
    assert any(path.name.startswith("hrat-spice-") for path in (tmp_path / "tmp").iterdir())
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        assert f"hrat: stopped by {number.name}; no file was left half written" in said
        assert "Traceback" not in said
    children = [int(each) for each in told.read_text().split()]
    assert wait_until(lambda: not any(map(lives, children)), 10)
    assert wait_until(lambda: not list((tmp_path / "tmp").glob("hrat-*")), 10)


def test_a_training_that_is_asked_to_end_saves_its_state(tmp_path: Path, shell: Shell) -> None:
    words = ("train", "fc4-mnist5k", "-o", "run", "--epochs", "200")
    process = start(tmp_path, *words)
    assert wait_until((tmp_path / "run" / "metrics.csv").is_file)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "hrat: stopped by SIGTERM; the same command (without --fresh) goes on from where it was" in said
    assert "Traceback" not in said
    assert "run, not finished: hrat train goes on with it" in shell.works("inspect", "run")


def test_whoever_waits_for_circuits_hears_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(100.0 + second for second in range(71))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    patience = Patience()
    for _ in range(71):
        patience(1, 4)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "ngspice is solving circuits: 5 s so far, 1 of 4 parts of the circuit at hand done"
    assert [line.split()[4] for line in said] == ["5", "35", "65"]
