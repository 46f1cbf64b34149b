"""Every way in which ngspice can fail is a failure of its own kind. Most are played by a shell script."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from hrat.simulation.spice import Ngspice, SpiceFailure, SpiceOptions, find_ngspice, run_chain
from hrat.simulation.spice.failure import Reason
from hrat.simulation.spice.runner import run_netlist
from ngspice import needs_ngspice
from simulation.spice.circuits import inputs_of, layer_of, spec_of

KLU = "** ngspice-44.2 : Circuit level simulation program\\n** Compiled with KLU Direct Linear Solver\\n"
OLD = "** ngspice-39 : Circuit level simulation program\\n"
PROBED = "Using KLU as Direct Linear Solver\\n"


def program(folder: Path, script: str, version: str = KLU) -> Path:
    """A stand-in that answers questions about itself and otherwise runs `script`."""
    path = folder / "ngspice"
    path.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then printf "{version}"; exit 0; fi\n'
        f'case "$3" in *probe.cir) printf "{PROBED}"; exit 0;; esac\n{script}\n'
    )
    path.chmod(0o755)
    return path


def failure(path: Path | str, time_limit_s: float = 30.0, rows: int = 3) -> SpiceFailure:
    options = SpiceOptions(ngspice=path, time_limit_s=time_limit_s)
    result = run_chain([layer_of(rows, 2)], spec_of(), inputs_of(4, rows), options)
    assert result.failure is not None
    assert result.outputs == ()
    assert result.seconds >= 0
    return result.failure


@pytest.mark.parametrize(
    ("script", "reason", "words"),
    [
        ("echo 'malloc: cannot allocate 99 bytes'; exit 1", "memory", "fewer workers"),
        ("echo 'write: No space left on device'; exit 1", "disk", "free some space"),
        ("echo 'doAnalyses: iteration limit reached'; exit 1", "no_convergence", "found no solution"),
        ("echo 'Warning: singular matrix'; exit 1", "no_convergence", "singular matrix"),
        ("echo 'unknown parameter'; exit 3", "failed", "status 3"),
        ("kill -KILL $$", "killed", "SIGKILL; the system may have run out of memory"),
        ("kill -SEGV $$", "killed", "SIGSEGV"),
        ("exit 0", "bad_output", "wrote no results"),
        ("echo garbage > out.raw", "bad_output", "expected a header"),
        ("printf 'Flags: real\\nNo. Variables: 1\\nNo. Points: 9\\nVariables:\\n\\t0\\tt\\tv\\nBinary:\\n' > out.raw",
         "bad_output", "cut off"),
    ],
)  # fmt: skip
def test_each_kind_of_end_is_told_apart(tmp_path: Path, script: str, reason: Reason, words: str) -> None:
    found = failure(program(tmp_path, script))
    assert found.reason == reason
    assert words in str(found)


def test_the_tail_of_the_log_is_shown(tmp_path: Path) -> None:
    found = failure(program(tmp_path, "seq 100; exit 1"))
    assert "last lines of ngspice:\n86\n" in str(found)
    assert found.log.endswith("100")


def test_a_run_and_its_children_end_in_time(tmp_path: Path) -> None:
    path = program(tmp_path, f"sleep 60 & echo $! > {tmp_path}/child; wait")
    start = time.monotonic()
    found = failure(path, time_limit_s=0.5)
    assert found.reason == "timeout"
    assert "did not end within 0.5 s" in str(found)
    assert time.monotonic() - start < 10
    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    time.sleep(0.1)
    # Gone, or a zombie that nobody has collected yet.
    assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] in "ZX"


def test_a_run_ends_when_it_is_told_to(tmp_path: Path) -> None:
    ngspice = Ngspice(path=program(tmp_path, "sleep 60"), version="44.2", has_klu=True)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    start = time.monotonic()
    with pytest.raises(SpiceFailure, match="was stopped"):
        run_netlist(ngspice, ["* nothing\n"], stop=stop)
    assert time.monotonic() - start < 10


def test_a_failed_run_ends_the_others(tmp_path: Path) -> None:
    path = program(tmp_path, f"if mkdir {tmp_path}/first; then exit 1; else sleep 60; fi")
    start = time.monotonic()
    assert failure(path).reason == "failed"
    assert time.monotonic() - start < 10


def test_private_folders_are_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = program(tmp_path, "exit 1")
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    assert failure(path).reason == "failed"
    assert not list(folder.iterdir())


def test_netlist_and_log_are_kept_on_request(tmp_path: Path) -> None:
    path = program(tmp_path, "echo said; exit 1")
    options = SpiceOptions(ngspice=path, keep=tmp_path / "kept", workers=1)
    run_chain([layer_of(3, 2)], spec_of(), inputs_of(1, 3), options)
    (run,) = (tmp_path / "kept").iterdir()
    assert (run / "circuit.cir").read_text().endswith(".end\n")
    assert (run / "log.txt").read_text() == "said\n"


def test_a_folder_that_cannot_keep_anything_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    ngspice = Ngspice(path=program(tmp_path, "exit 0"), version="44.2", has_klu=True)
    with pytest.raises(SpiceFailure, match=r"cannot keep netlist and log in .*file/kept") as caught:
        run_netlist(ngspice, ["* nothing\n"], keep=blocked / "kept")
    assert caught.value.reason == "disk"


def test_a_full_disk_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    ngspice = Ngspice(path=program(tmp_path, "exit 0"), version="44.2", has_klu=True)
    monkeypatch.setattr("tempfile.mkdtemp", full)
    with pytest.raises(SpiceFailure, match="free some space") as caught:
        run_netlist(ngspice, ["* nothing\n"])
    assert caught.value.reason == "disk"


# ---- finding it ------------------------------------------------------------------------------------------------------


def test_a_missing_program_is_told_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HRAT_NGSPICE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SpiceFailure, match=r"apt-get install ngspice.*42 or later with KLU") as caught:
        find_ngspice()
    assert caught.value.reason == "missing"
    monkeypatch.setenv("HRAT_NGSPICE", "/nowhere/ngspice")
    with pytest.raises(SpiceFailure, match="HRAT_NGSPICE names /nowhere/ngspice, which is no program"):
        find_ngspice()
    with pytest.raises(SpiceFailure, match="the path given names /elsewhere"):
        find_ngspice("/elsewhere")
    (tmp_path / "ngspice").write_text("no program")
    (tmp_path / "ngspice").chmod(0o755)
    with pytest.raises(SpiceFailure, match=r"does not start|names no version"):
        find_ngspice(tmp_path / "ngspice")
    assert failure("/nowhere/ngspice").reason == "missing"


def test_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local, in_path, named = (tmp_path / name for name in (".ngspice/bin", "path", "named"))
    for folder in (local, in_path, named):
        folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HRAT_NGSPICE", raising=False)
    monkeypatch.setenv("PATH", f"{in_path}{os.pathsep}{os.environ['PATH']}")
    program(local, "")
    assert find_ngspice(program(named, "", OLD)).version == "39"
    program(in_path, "", OLD)
    # A local one with KLU is worth more than an old one of the system.
    assert find_ngspice().path == local / "ngspice"
    program(in_path, "")
    os.utime(in_path / "ngspice", (1, 1))
    assert find_ngspice().path == in_path / "ngspice"
    monkeypatch.setenv("HRAT_NGSPICE", str(named / "ngspice"))
    assert str(find_ngspice()) == "ngspice 39 without KLU"


def test_an_old_version_does_small_circuits_only(tmp_path: Path) -> None:
    path = program(tmp_path, "exit 0", OLD)
    assert failure(path).reason == "bad_output"  # it was run
    old = find_ngspice(path)
    old.check_size(10_000, wires=False)
    with pytest.raises(SpiceFailure, match=r"400,000 memristors; ngspice 39 .* can do about .* with KLU"):
        old.check_size(400_000, wires=False)
    with pytest.raises(SpiceFailure, match="and the wires between them"):
        old.check_size(10_000, wires=True)


# ---- the real one ----------------------------------------------------------------------------------------------------


@needs_ngspice
@pytest.mark.parametrize("element", ["B1 a 0 I=v(a)*v(a)+1", "V2 b 0 2\nV3 b 0 3"])
def test_a_circuit_without_solution_does_not_converge(element: str) -> None:
    text = f"* none\nV1 c 0 1\nR1 c a 1\n{element}\n.options itl1=20 itl2=20\n.dc V1 0 1 1\n.end\n"
    with pytest.raises(SpiceFailure) as caught:
        run_netlist(find_ngspice(), [text])
    assert caught.value.reason == "no_convergence"


@needs_ngspice
def test_the_real_one_is_known() -> None:
    found = find_ngspice()
    assert int(found.version.partition(".")[0]) >= 30
    plots = run_netlist(found, ["* divider\nV1 a 0 1\nR1 a b 1k\nR2 b 0 3k\n.dc V1 0 2 1\n.save v(b)\n.end\n"])
    np.testing.assert_allclose(plots[-1]["v(b)"], [0, 0.75, 1.5], rtol=1e-12)
