"""An orderly end, and temporary folders."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from hrat.processes import Stopped, orderly_end, private_folder, stop_requests, tell_waiting, while_waiting


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_unwinds_as_ctrl_c_does(number: signal.Signals) -> None:
    cleaned = []

    def work() -> None:
        with orderly_end():
            try:
                os.kill(os.getpid(), number)
                time.sleep(5)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)  # no further one disturbs the cleaning up
                cleaned.append(True)

    with pytest.raises(Stopped, match=number.name) as raised:
        work()
    assert cleaned
    assert isinstance(raised.value, KeyboardInterrupt)
    assert raised.value.exit_code == 128 + number
    assert signal.getsignal(number) == signal.SIG_DFL


def test_signals_that_are_ignored_or_handled_stay_so() -> None:
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(True))
    try:
        with orderly_end(), stop_requests() as asked:
            os.kill(os.getpid(), signal.SIGTERM)
        assert heard
        assert not asked.is_set()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_request_is_asked_for_and_then_raised() -> None:
    with orderly_end(), stop_requests() as asked:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        assert asked.is_set()
    assert isinstance(asked.error(), Stopped)
    with stop_requests() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        assert type(asked.error()) is KeyboardInterrupt
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_other_threads_leave_signals_alone() -> None:
    done = []

    def work() -> None:
        with orderly_end(), stop_requests() as asked:
            done.append(asked.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [False]


def test_folders_of_processes_that_are_gone_are_removed_and_those_in_use_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    script = (
        "import os, signal, sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        "from hrat.processes import private_folder\n"
        "with private_folder('spice') as folder: os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith("hrat-spice-")
    foreign = tmp_path / "hrat-some-own-folder"
    foreign.mkdir()
    with private_folder("ranks") as first:
        assert left.is_dir()  # too new to be sure
        for folder in (left, first, foreign):
            os.utime(folder, (1.0, 1.0))
        with private_folder("ranks") as second:
            assert first.is_dir()
            assert second.is_dir()
            assert foreign.is_dir()
            assert not left.exists()
    assert list(tmp_path.iterdir()) == [foreign]


def test_who_waits_tells_only_those_who_listen() -> None:
    heard = []
    with while_waiting(lambda done, total: heard.append((done, total))):
        tell_waiting(1, 2)
    tell_waiting(2, 2)
    assert heard == [(1, 2)]
