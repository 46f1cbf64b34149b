"""The verbs that go down to the circuit."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.shell import Shell
from hrat.simulation.spice import find_ngspice
from ngspice import needs_ngspice


def test_simulate_takes_wires_and_a_solver_for_each_layer(shell: Shell, make_chips: Callable[[], Path]) -> None:
    chips = make_chips()
    common = ("simulate", chips, "--data", "mnist5k", "--limit", "40")
    plain = shell.works(*common)
    assert "nodal" in shell.works(*common, "--solver", "nodal", "--wires", "1")
    named = shell.works(*common, "--solver", "1=nodal", "--solver", "*=behavioural")
    assert "1: nodal, *: behavioural" in named
    assert plain.split("accuracy mean")[1].split(";")[0] == named.split("accuracy mean")[1].split(";")[0]


def test_simulate_refuses_solvers_that_fit_no_layer(shell: Shell, make_chips: Callable[[], Path]) -> None:
    common = ("simulate", make_chips(), "--data", "mnist5k", "--limit", "5")
    assert "the chip has no layer 'conv1'" in shell.refuses(*common, "--solver", "conv1=nodal", "--solver", "*=nodal")
    for wrong in (["nodal", "1=nodal"], ["=nodal"], ["1=nodal", "1=spice"]):
        options = [part for solver in wrong for part in ("--solver", solver)]
        assert "expected one NAME, or LAYER=NAME" in shell.refuses(*common, *options)


def test_without_ngspice_a_word_on_how_to_get_it(
    shell: Shell, make_chips: Callable[[], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chips = make_chips()
    monkeypatch.delenv("HRAT_NGSPICE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    code, out, _ = shell("simulate", chips.name, "--data", "mnist5k", "--limit", "5", "--solver", "spice")
    said = " ".join(out.split())
    assert code == 3
    assert "no ngspice in PATH" in said
    assert "apt-get install ngspice" in said


def test_a_solver_that_fails_is_not_taken_for_wrong_data(
    shell: Shell, make_chips: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HRAT_NGSPICE", "/nowhere/ngspice")
    code, out, err = shell("simulate", make_chips(), "--data", "mnist5k", "--limit", "5", "--solver", "spice")
    assert code == 3
    assert "/nowhere/ngspice" in out
    assert "the data that it was trained on" not in out + err


@needs_ngspice
def test_verify_goes_down_to_spice(shell: Shell, make_chips: Callable[[], Path], tmp_path: Path) -> None:
    out = shell.works(
        "verify", make_chips(), "--data", "mnist5k", "--limit", "3", "--offset", "1e-4", "-o", tmp_path / "verified"
    )
    for depth in ("behavioural", "nodal", "SPICE, ideal amplifiers", "SPICE with offsets"):
        assert depth in out
    figures = json.loads((tmp_path / "verified" / "verification.json").read_text())
    assert figures["n_images"] == 3
    assert len(figures["depths"]) == 6
    assert (tmp_path / "verified" / "verification.png").stat().st_size > 10_000


def test_verify_shows_what_added_wires_cost(shell: Shell, make_chips: Callable[[], Path]) -> None:
    how = ("verify", make_chips(), "--data", "mnist5k", "--limit", "3", "--without-spice")
    assert "behavioural, ideal wires" in shell.works(*how, "--wires", "2")
    assert "behavioural, ideal wires" not in shell.works(*how, "--wires", "0")
    assert "behavioural, ideal wires" not in shell.works(*how)


def test_verify_can_stay_above_spice(shell: Shell, make_chips: Callable[[], Path]) -> None:
    out = shell.works("verify", make_chips(), "--data", "mnist5k", "--limit", "3", "--without-spice", "--wires", "0.5")
    assert "SPICE" not in out
    assert "the exact solution of the wires" in " ".join(out.split())


@needs_ngspice
def test_a_written_netlist_runs(shell: Shell, make_chips: Callable[[], Path], tmp_path: Path) -> None:
    shell.works("netlist", make_chips(), "-o", tmp_path / "netlists", "--chip", "1", "--inputs", "2")
    (path,) = (tmp_path / "netlists").iterdir()
    text = path.read_text()
    assert "784 inputs, 10 outputs" in text
    command = [find_ngspice().path, "-b", "-r", tmp_path / "out.raw", path]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-500:]
    assert (tmp_path / "out.raw").stat().st_size > 0


def test_netlists_of_other_dialects_and_refusals(shell: Shell, make_chips: Callable[[], Path], tmp_path: Path) -> None:
    chips = make_chips()
    shell.works("netlist", chips, "-o", tmp_path / "lt", "--dialect", "ltspice", "--layer", "1")
    assert "klu" not in next((tmp_path / "lt").iterdir()).read_text().lower()
    assert "has 2 chip(s), counted from 0; got 2" in shell.refuses("netlist", chips, "--chip", "2")
    assert "the chip has no layer 'fc9'; it has 1" in shell.refuses("netlist", chips, "--layer", "fc9")
