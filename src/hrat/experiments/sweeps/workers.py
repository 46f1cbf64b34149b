"""Processes that work through a list of jobs. One that dies takes nothing along but the job it was at."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from hrat.processes import Stopped, orderly_end

__all__ = ["Died", "in_processes"]

ATTEMPTS = 3
"""Attempts at a job whose worker dies each time."""


class Died:
    """Marker in place of a result: the workers of a job died at each attempt."""

    def __init__(self, why: str) -> None:
        self.why = why


class _Worker:
    """A process and the pipe to it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs, function), daemon=True)
        self.process.start()
        theirs.close()
        self.job: int | None = None

    def give(self, job: int, args: tuple[Any, ...]) -> None:
        """Set it to work."""
        self.job = job
        self.pipe.send(args)

    def stop(self) -> None:
        """End it, whatever it is at; one that is idle leaves by itself when the pipe closes."""
        self.pipe.close()
        if self.job is None:
            self.process.join(timeout=10)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join(timeout=10)
        if self.process.is_alive():
            self.process.kill()


def _serve(pipe: Connection, function: Callable[..., Any]) -> None:
    """A worker's life. Ctrl-C is for the process that started it, which ends it: training then saves its state."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    with suppress(Stopped), orderly_end():
        _work_on(pipe, function)


def _work_on(pipe: Connection, function: Callable[..., Any]) -> None:
    while True:
        try:
            args = pipe.recv()
        except (EOFError, OSError):  # the process that started it is gone
            return
        try:
            message: tuple[bool, Any] = (True, function(*args))
        except Stopped:
            raise
        except BaseException:  # whatever it is, the one who waits must hear of it
            message = (False, traceback.format_exc())
        pipe.send(message)


def _leave_with(parent: BaseProcess | None) -> None:
    """End this process when the one that started it is killed: the next sweep of the folder must not meet it there."""
    if parent is not None:
        parent.join()
        os._exit(1)


def in_processes(
    function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], *, workers: int
) -> Iterator[tuple[int, Any]]:
    """Call a function for each job, in several processes.

    Args:
        function: a function of a module, so that other processes can import it; it must not raise.
        jobs: its arguments.
        workers: processes.

    Yields:
        `(number of the job, result)` as they come; a `Died` in place of a result where each attempt ended with the
        death of its worker.

    Raises:
        RuntimeError: the function raised.
    """
    waiting = deque(range(len(jobs)))
    attempts = [0] * len(jobs)
    crew: list[_Worker] = []
    try:
        while waiting or any(worker.job is not None for worker in crew):
            idle = [worker for worker in crew if worker.job is None]
            while waiting and (idle or len(crew) < workers):
                if not idle:
                    crew.append(_Worker(function))
                    idle.append(crew[-1])
                job = waiting.popleft()
                attempts[job] += 1
                worker = idle.pop()
                try:
                    worker.give(job, jobs[job])
                except OSError:  # it died while it was idle: `_heard` says so
                    continue
            ready = wait([worker.pipe for worker in crew if worker.job is not None])
            for worker in [worker for worker in crew if worker.pipe in ready]:
                number, worker.job = worker.job, None
                assert number is not None
                heard = _heard(worker)
                if not isinstance(heard, Died):
                    yield number, heard
                    continue
                crew.remove(worker)
                worker.stop()
                if attempts[number] < ATTEMPTS:
                    waiting.append(number)
                else:
                    yield number, Died(f"{heard.why}, {ATTEMPTS} times")
    finally:
        for worker in crew:
            worker.stop()


def _heard(worker: _Worker) -> Any:
    """The message of a worker, or that it died."""
    try:
        good, outcome = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(timeout=10)
        code = worker.process.exitcode
        how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
        return Died(f"the worker died {how}")
    if not good:
        raise RuntimeError(f"a worker failed:\n{outcome}")
    return outcome


def cores_for(workers: int) -> int:
    """Threads for each of the workers: their share of the cores, or `OMP_NUM_THREADS` where that is less."""
    share = max(1, (os.cpu_count() or 1) // workers)
    allowed = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(share, int(allowed)) if allowed.isdigit() and int(allowed) > 0 else share
