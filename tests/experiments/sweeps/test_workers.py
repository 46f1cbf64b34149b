"""Processes that work through jobs: one that dies takes nothing along, and nothing is done twice."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from experiments.sweeps.jobs import dies_at_first, fails, waits
from hrat.experiments.sweeps.workers import Died, cores_for, in_processes
from hrat.processes import Stopped, orderly_end


def begun(folder: Path) -> list[int]:
    return [len((folder / str(number)).read_text()) for number in range(4)]


def test_a_worker_that_is_killed_has_its_job_done_again_and_no_other(tmp_path: Path) -> None:
    jobs = [(number, str(tmp_path), 2) for number in range(4)]
    found = dict(in_processes(dies_at_first, jobs, workers=2))
    assert found == {number: f"job {number}" for number in range(4)}
    assert begun(tmp_path) == [1, 3, 1, 1]


def test_a_job_that_kills_each_worker_is_given_up_and_the_rest_goes_on(tmp_path: Path) -> None:
    jobs = [(number, str(tmp_path), 99) for number in range(4)]
    found = dict(in_processes(dies_at_first, jobs, workers=2))
    assert [found[number] for number in (0, 2, 3)] == ["job 0", "job 2", "job 3"]
    assert isinstance(found[1], Died)
    assert found[1].why == "the worker died by signal 9, 3 times"
    assert begun(tmp_path) == [1, 3, 1, 1]


def test_a_fault_of_the_function_is_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"a worker failed:(.|\n)*ZeroDivisionError"):
        list(in_processes(fails, [(0, str(tmp_path), 0)], workers=1))


def test_workers_end_in_order_when_the_one_that_started_them_is_asked_to_end(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def ask() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    def work() -> None:
        with orderly_end():
            threading.Thread(target=ask, daemon=True).start()
            list(in_processes(waits, [(number, str(tmp_path)) for number in range(2)], workers=2))

    with pytest.raises(Stopped):
        work()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["ended in order"] * 2
    assert not multiprocessing.active_children()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("allowed", "workers", "threads"),
    [(None, 1, 8), (None, 3, 2), (None, 20, 1), ("1", 1, 1), ("3", 2, 3), ("6,2", 1, 6), ("16", 2, 4), ("many", 2, 4)],
)
def test_workers_share_the_cores_within_what_the_user_allows(
    allowed: str | None, workers: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if allowed is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", allowed)
    assert cores_for(workers) == threads
