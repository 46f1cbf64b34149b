"""One run of ngspice: a netlist in, plots out, and a reason for every failure."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

from hrat.processes import private_folder
from hrat.simulation.spice.failure import SpiceFailure
from hrat.simulation.spice.leash import NOT_STARTED, run_on_leash
from hrat.simulation.spice.lines import harmless
from hrat.simulation.spice.ngspice import Ngspice
from hrat.simulation.spice.raw import Plot, RawFileError, read_raw

__all__ = ["run_netlist"]

LITTLE_DISK_BYTES = 2**20

MEMORY = re.compile(r"out of memory|can'?t allocate|cannot allocate|malloc|calloc|realloc", re.IGNORECASE)
DISK = re.compile(r"no space left|disk quota|disk full", re.IGNORECASE)
DIVERGED = re.compile(
    r"no convergence|convergence problem|iteration limit|timestep too small|singular matrix|gmin stepping failed",
    re.IGNORECASE,
)


def run_netlist(
    program: Ngspice,
    pieces: Iterable[str],
    *,
    time_limit_s: float = 3600.0,
    stop: threading.Event | None = None,
    keep: Path | None = None,
) -> list[Plot]:
    """Solve a netlist in a private folder, which is gone afterwards.

    Args:
        program: the ngspice.
        pieces: the netlist, in parts.
        time_limit_s: after which the run is ended.
        stop: ends the run when it is set (by another thread).
        keep: where netlist and log stay; a folder that is made if need be.

    Raises:
        CircuitError: a line that hrat does not write, and that ngspice might obey.
        SpiceFailure: there is no solution; its `reason` says why.
    """
    try:
        with private_folder("spice") as folder:
            try:
                with (folder / "circuit.cir").open("w", encoding="utf-8", newline="\n") as file:
                    file.writelines(harmless(pieces))
                return _solve(program, folder, time_limit_s, stop or threading.Event())
            finally:
                if keep is not None:
                    _keep(folder, keep)
    except OSError as error:
        raise _disk_failure(error) from error


def _solve(program: Ngspice, folder: Path, time_limit_s: float, stop: threading.Event) -> list[Plot]:
    log = folder / "log.txt"
    # -n: no start-up file of the user's. There is no option against commands in the circuit file: see `lines`.
    command = [str(program.path), "-n", "-b", "-r", "out.raw", "circuit.cir"]
    status = run_on_leash(command, folder, log, time_limit_s, stop)
    text = log.read_text(errors="replace")
    if status is None:
        raise _stopped(stop, time_limit_s, text)
    if status != 0:
        raise _failure(program, status, text, folder)
    return _plots(folder, text)


def _stopped(stop: threading.Event, time_limit_s: float, log: str) -> SpiceFailure:
    if stop.is_set():
        return SpiceFailure("killed", "ngspice was stopped, since another run had failed or the caller gave up")
    return SpiceFailure(
        "timeout",
        f"ngspice did not end within {time_limit_s:g} s; allow more (time_limit_s)",
        log,
    )


def _failure(program: Ngspice, returncode: int, log: str, folder: Path) -> SpiceFailure:
    if returncode in NOT_STARTED:
        return SpiceFailure("missing", f"{program.path} does not start", log)
    if DISK.search(log) or shutil.disk_usage(folder).free < LITTLE_DISK_BYTES:
        return _disk_failure(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)), log)
    if MEMORY.search(log):
        return SpiceFailure("memory", "ngspice ran out of memory; solve fewer layers at once, or fewer workers", log)
    if returncode < 0:
        name = signal.Signals(-returncode).name
        hint = "; the system may have run out of memory: try fewer workers" if name == "SIGKILL" else ""
        return SpiceFailure("killed", f"ngspice was ended by {name}{hint}", log)
    if DIVERGED.search(log):
        return SpiceFailure(
            "no_convergence",
            "ngspice found no solution; keep the netlist (SpiceOptions.keep) and look at the nodes that it names",
            log,
        )
    return SpiceFailure("failed", f"ngspice ended with status {returncode}", log)


def _plots(folder: Path, log: str) -> list[Plot]:
    raw = folder / "out.raw"
    if DIVERGED.search(log) and not raw.exists():
        raise SpiceFailure("no_convergence", "ngspice found no solution", log)
    try:
        return read_raw(raw)
    except RawFileError as error:
        if shutil.disk_usage(folder).free < LITTLE_DISK_BYTES:
            raise _disk_failure(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)), log) from error
        raise SpiceFailure("bad_output", str(error), log) from error
    except FileNotFoundError as error:
        raise SpiceFailure("bad_output", "ngspice ended well but wrote no results", log) from error


def _disk_failure(error: OSError, log: str = "") -> SpiceFailure:
    return SpiceFailure(
        "disk",
        f"cannot write the circuit or its results: {error}; free some space, or name another folder in TMPDIR",
        log,
    )


def _keep(folder: Path, keep: Path) -> None:
    try:
        keep.mkdir(parents=True, exist_ok=True)
        kept = Path(tempfile.mkdtemp(prefix="run-", dir=keep))
        for name in ("circuit.cir", "log.txt"):
            if (folder / name).exists():
                shutil.copy(folder / name, kept / name)
    except OSError as error:
        raise SpiceFailure(
            "disk", f"cannot keep netlist and log in {keep}: {error}; expected a folder that can be made and written"
        ) from error
