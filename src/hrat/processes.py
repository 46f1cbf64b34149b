"""An orderly end of the program, temporary folders that do not outlive it, and word of what it waits for."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import filelock

__all__ = [
    "ASKING",
    "StopRequest",
    "Stopped",
    "Waiting",
    "orderly_end",
    "private_folder",
    "stop_requests",
    "tell_waiting",
    "while_waiting",
]

HANG_UP = getattr(signal, "SIGHUP", None)  # Windows has none
ASKING = tuple(number for number in (signal.SIGTERM, HANG_UP) if number is not None)
"""Signals by which systems and terminals ask a program to end, beside Ctrl-C."""
LOCK = ".in-use"
"""File in a private folder that its process holds locked for as long as it lives."""
JUST_MADE_S = 10.0


# ---- an orderly end


class Stopped(KeyboardInterrupt):
    """A signal asked the program to end: it unwinds as it does at Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """Exit code of a program that a signal ended: 128 plus its number."""
        return 128 + self.number


@contextmanager
def orderly_end() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Stopped` in the main thread, where they would end the process on the spot.

    A signal that is ignored (`nohup`) or handled already stays so. After the first one no further one is heard, so
    that nothing disturbs the cleaning up.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handled = [number for number in ASKING if signal.getsignal(number) == signal.SIG_DFL]
    try:
        for number in handled:
            signal.signal(number, _stop)
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


def _stop(number: int, frame: Any) -> None:
    del frame
    for other in ASKING:
        if signal.getsignal(other) is _stop:
            signal.signal(other, signal.SIG_IGN)
    _let_go_of_terminal(number)
    raise Stopped(number)


def _let_go_of_terminal(number: int) -> None:
    """Write to nowhere from here on where the terminal is gone: each word would be an error."""
    if number != HANG_UP:
        return
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                os.dup2(nowhere, descriptor)
    os.close(nowhere)


class StopRequest:
    """Whether something has asked for an end, and what."""

    def __init__(self) -> None:
        self.number: int | None = None

    def is_set(self) -> bool:
        """Whether it has."""
        return self.number is not None

    def error(self) -> KeyboardInterrupt:
        """Exception to raise when the current work is done and saved."""
        if self.number is None or self.number == signal.SIGINT:
            return KeyboardInterrupt()
        return Stopped(self.number)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Ctrl-C, and within `orderly_end` SIGTERM and SIGHUP, ask for a stop instead of stopping at once.

    A second Ctrl-C stops at once.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number: int, frame: Any) -> None:
        del frame
        if request.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not request.is_set():
            request.number = number
            _let_go_of_terminal(number)

    before = {signal.SIGINT: signal.getsignal(signal.SIGINT)}
    before |= {number: _stop for number in ASKING if signal.getsignal(number) is _stop}
    try:
        for number in before:
            signal.signal(number, ask)
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---- temporary folders


@contextmanager
def private_folder(kind: str) -> Iterator[Path]:
    """A temporary folder that is gone afterwards; those of processes that were killed are removed on the way.

    Args:
        kind: what it is for, part of its name `hrat-<kind>-<process>-<random>`.

    Raises:
        OSError: no folder can be made.
    """
    _remove_left_behind(Path(tempfile.gettempdir()))
    prefix = f"hrat-{kind}-{os.getpid()}-"
    with (
        tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name,
        filelock.FileLock(Path(name) / LOCK),
    ):
        yield Path(name)


def _remove_left_behind(root: Path) -> None:
    for folder in root.glob("hrat-*-*-*"):
        with suppress(OSError):  # it is another user's, or another process was faster
            if (folder / LOCK).is_file() and not _is_in_use(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_in_use(folder: Path) -> bool:
    """Whether its process lives: the lock goes with it, also where its number is that of another container."""
    about = folder.lstat()
    if stat.S_ISLNK(about.st_mode) or (hasattr(os, "getuid") and about.st_uid != os.getuid()):
        return True
    if time.time() - about.st_mtime < JUST_MADE_S:  # its process may be about to lock it
        return True
    try:
        with filelock.FileLock(folder / LOCK, timeout=0):
            return False
    except filelock.Timeout:
        return True


# ---- waiting for other programs

Waiting = Callable[[int, int], None]
"""Called about once a second with the parts done, and the parts in all."""

_listener: ContextVar[Waiting | None] = ContextVar("listener", default=None)


@contextmanager
def while_waiting(listener: Waiting) -> Iterator[None]:
    """Call `listener` whenever this thread waits for another program."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell_waiting(done: int, total: int) -> None:
    """Call the listener: this thread still waits."""
    listener = _listener.get()
    if listener is not None:
        listener(done, total)
