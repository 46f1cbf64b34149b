"""Search for ngspice, and test of its abilities.

ngspice is a program that users install. Version 42 and later, where built with the KLU solver, solve large arrays in
seconds; the Sparse 1.3 solver of older ones takes minutes: 100 s against 0.6 s for one input of a 128 x 128 tile with
wires, 72 s against 3 s for 400,000 memristors with ideal wires.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hrat.processes import private_folder
from hrat.simulation.spice.failure import SpiceFailure
from hrat.simulation.spice.leash import NOT_STARTED, run_on_leash

__all__ = ["Ngspice", "find_ngspice"]

ENVIRONMENT = "HRAT_NGSPICE"
LOCAL = Path(".ngspice/bin/ngspice")
HOW_TO_GET = (
    "install it (Debian 13, Ubuntu 24.10 and later: `apt-get install ngspice`; macOS: `brew install ngspice`), or let "
    "`python scripts/get_ngspice.py` of hrat's repository put it into .ngspice, or name the program in "
    f"{ENVIRONMENT}. Version 42 or later with KLU is wanted: the solver of older ones takes minutes on large arrays"
)
START_LIMIT_S = 60.0

SPARSE_DEVICES = 40_000
"""Devices on ideal wires that Sparse 1.3 solves in seconds."""
SPARSE_WIRED_DEVICES = 2_500
"""Devices on wires with resistance that Sparse 1.3 solves in seconds."""

PROBE = "* probe\nV1 a 0 1\nR1 a 0 1\n.options klu\n.op\n.end\n"


@dataclass(frozen=True, kw_only=True)
class Ngspice:
    """An ngspice program that has been started once."""

    path: Path
    version: str
    """Its version, such as 44.2."""
    has_klu: bool

    def check_size(self, n_devices: int, *, wires: bool) -> None:
        """Refuse circuits that would take hours.

        Raises:
            SpiceFailure: the circuit is too large for the solver at hand.
        """
        limit = SPARSE_WIRED_DEVICES if wires else SPARSE_DEVICES
        if self.has_klu or n_devices <= limit:
            return
        raise SpiceFailure(
            "too_large",
            f"the circuit has {n_devices:,} memristors{' and the wires between them' if wires else ''}; ngspice "
            f"{self.version} at {self.path} has no KLU solver and can do about {limit:,} of them: {HOW_TO_GET}",
        )

    def __str__(self) -> str:
        """Version and path as text."""
        return f"ngspice {self.version} {'with' if self.has_klu else 'without'} KLU"


def find_ngspice(path: str | os.PathLike[str] | None = None) -> Ngspice:
    """The ngspice to use.

    Looked for: `path`, the environment variable HRAT_NGSPICE, PATH, `.ngspice/bin/ngspice` in the current folder. One
    that is named is taken or refused; of the last two, the first that has KLU, else the first.

    Raises:
        SpiceFailure: there is none, or it does not start.
    """
    named = path or os.environ.get(ENVIRONMENT)
    if named:
        program = shutil.which(os.fspath(named))
        if program is None:
            source = "the path given" if path else ENVIRONMENT
            raise SpiceFailure("missing", f"{source} names {named}, which is no program; {HOW_TO_GET}")
        return _examined(Path(program).absolute())
    candidates = [Path(on_path) for on_path in (shutil.which("ngspice"), shutil.which(LOCAL)) if on_path]
    if not candidates:
        raise SpiceFailure("missing", f"no ngspice in PATH or at {LOCAL}; {HOW_TO_GET}")
    examined = [_examined(candidate.absolute()) for candidate in candidates]
    return next((one for one in examined if one.has_klu), examined[0])


def _examined(path: Path) -> Ngspice:
    return _examine(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _examine(path: Path, changed_ns: int) -> Ngspice:
    del changed_ns  # a program that has been replaced is examined again
    with private_folder("spice") as folder:
        answer = _start(path, folder, "--version")
    version = re.search(r"ngspice-(\S+)", answer)
    if not version:
        raise SpiceFailure("missing", f"{path} --version names no version of ngspice; {HOW_TO_GET}", answer)
    return Ngspice(path=path, version=version[1], has_klu="KLU" in answer and _uses_klu(path))


def _uses_klu(path: Path) -> bool:
    """Whether it takes KLU when asked to: what was compiled in may be of no use on this machine."""
    with private_folder("spice") as folder:
        (folder / "probe.cir").write_text(PROBE)
        return "KLU as Direct Linear Solver" in _start(path, folder, "-n", "-b", "probe.cir")


def _start(path: Path, folder: Path, *arguments: str) -> str:
    log = folder / "log.txt"
    try:
        status = run_on_leash([str(path), *arguments], folder, log, START_LIMIT_S)
        answer = log.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise SpiceFailure("missing", f"{path} does not start: {error}; {HOW_TO_GET}") from error
    if status is None:
        raise SpiceFailure("missing", f"{path} did not answer within {START_LIMIT_S:g} s; {HOW_TO_GET}", answer)
    if status in NOT_STARTED:
        raise SpiceFailure("missing", f"{path} does not start; {HOW_TO_GET}", answer)
    return answer
