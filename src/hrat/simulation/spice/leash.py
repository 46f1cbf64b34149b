"""Running a program that never outlives hrat, whatever ends hrat.

The program is started by a shell whose standard input is a pipe that hrat holds open. When hrat is gone, be it by
SIGKILL, the system closes the pipe: the shell ends the program with all its children and removes the folder. That
holds from the first moment on, on every POSIX system, and for programs that threads start; Linux's PR_SET_PDEATHSIG
would be tied to the life of the thread, and `preexec_fn`, where it would be set, is unsafe beside other threads.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hrat.processes import tell_waiting

__all__ = ["NOT_STARTED", "TELL_S", "run_on_leash"]

POLL_S = 0.1
"""Interval at which a run checks whether it should stop, s."""
TELL_S = 1.0
"""Interval of its progress messages, s."""
NOT_STARTED = (126, 127)
"""Exit codes of a shell for a program that cannot be run."""
SHELL = """
folder=$1
shift
exec 3<&0 0</dev/null
"$@" 3<&- &
work=$!
{ cat <&3 >/dev/null; kill -9 $work; rm -rf "$folder"; kill -9 0; } &
exec 3<&-
wait $work
"""


def run_on_leash(
    command: Sequence[str], folder: Path, log: Path, time_limit_s: float, stop: threading.Event | None = None
) -> int | None:
    """Run a program in a folder.

    Args:
        command: the program and its arguments.
        folder: where it runs; removed if hrat is killed.
        log: takes what it prints.
        time_limit_s: after which it is ended.
        stop: ends it when it is set (by another thread).

    Returns:
        Its exit status, minus the number of a signal that ended it; None where it was ended from here.

    Raises:
        OSError: no process can be started.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", SHELL, "sh", str(folder), *command],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},  # ngspice has no use for more here
            start_new_session=True,  # a group of its own, so that its children end with it
        )
        try:
            in_time = _wait(process, time_limit_s, stop or threading.Event())
        finally:
            _end(process)
    if not in_time:
        return None
    # A shell says 128 and the number for a signal.
    return process.returncode if process.returncode <= 128 else 128 - process.returncode


def _wait(process: subprocess.Popen[bytes], time_limit_s: float, stop: threading.Event) -> bool:
    """Whether it ended by itself."""
    started = reported = time.monotonic()
    pause_s = POLL_S / 50  # small circuits end within milliseconds
    while process.poll() is None:
        now = time.monotonic()
        if stop.is_set() or now > started + time_limit_s:
            return False
        if now > reported + TELL_S:
            reported = now
            tell_waiting(0, 1)
        with suppress(subprocess.TimeoutExpired):
            process.wait(pause_s)
        pause_s = min(2 * pause_s, POLL_S)
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and its children, if they still run."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdin is not None
    process.stdin.close()
