"""One run of ngspice: a netlist in, plots out, and every way to fail told apart."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from hrat.simulation.spice.failure import SpiceFailure
from hrat.simulation.spice.lines import harmless
from hrat.simulation.spice.ngspice import Ngspice
from hrat.simulation.spice.raw import Plot, RawFileError, read_raw

__all__ = ["run_netlist"]

POLL_S = 0.1
"""How often a run looks whether it is to stop."""
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
        with tempfile.TemporaryDirectory(prefix="hrat-spice-", ignore_cleanup_errors=True) as private:
            folder = Path(private)
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
    # ngspice has no use for more threads here; -n: no start-up file of the user's. There is no option against commands
    # in the circuit file: see `lines`.
    command = [str(program.path), "-n", "-b", "-r", "out.raw", "circuit.cir"]
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,  # a group of its own, so that its children end with it
            )
        except OSError as error:
            raise SpiceFailure("missing", f"{program.path} does not start: {error}") from error
        try:
            in_time = _wait(process, time_limit_s, stop)
        finally:
            _end(process)
    text = log.read_text(errors="replace")
    if not in_time:
        raise _stopped(stop, time_limit_s, text)
    if process.returncode != 0:
        raise _failure(process.returncode, text, folder)
    return _plots(folder, text)


def _wait(process: subprocess.Popen[bytes], time_limit_s: float, stop: threading.Event) -> bool:
    """Whether it ended by itself."""
    until = time.monotonic() + time_limit_s
    pause_s = POLL_S / 50  # small circuits end within milliseconds
    while process.poll() is None:
        if stop.is_set() or time.monotonic() > until:
            return False
        with suppress(subprocess.TimeoutExpired):
            process.wait(pause_s)
        pause_s = min(2 * pause_s, POLL_S)
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and its children, if they still run."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _stopped(stop: threading.Event, time_limit_s: float, log: str) -> SpiceFailure:
    if stop.is_set():
        return SpiceFailure("killed", "ngspice was stopped, since another run had failed or the caller gave up")
    return SpiceFailure(
        "timeout",
        f"ngspice did not end within {time_limit_s:g} s; allow more (time_limit_s)",
        log,
    )


def _failure(returncode: int, log: str, folder: Path) -> SpiceFailure:
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
