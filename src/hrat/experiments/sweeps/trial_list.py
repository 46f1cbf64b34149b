"""Lists of trials, worked through; what is known already is not done again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from hrat.errors import HratError
from hrat.experiments.sweeps.ray_cluster import on_ray
from hrat.experiments.sweeps.trial import Trial
from hrat.experiments.sweeps.trial_work import work
from hrat.experiments.sweeps.workers import Died, cores_for, in_processes
from hrat.files import path_within, write_atomic
from hrat.training import Display

__all__ = ["run_trials"]

FIGURES = ("software", "mean", "worst", "std", "chips", "train_seconds", "seconds")
"""Keys of the result of a finished trial; `software` is the accuracy without programming error."""


def run_trials(
    trials: Sequence[Trial],
    folder: str | os.PathLike[str],
    *,
    workers: int = 1,
    ray: str | None = None,
    progress: bool = True,
    title: str = "trials",
    on_result: Callable[[int, dict[str, Any]], None] | None = None,
) -> list[dict[str, Any]]:
    """Results of trials, from the folder where they are there already.

    Trials that train the same network train it once. A trial whose worker is killed is done again, from the checkpoint
    of its training; one that fails stands in the results with its error, and is tried again with the next call.

    Args:
        trials: what to do; the same trial may stand there several times.
        folder: `trained/KEY` has the training runs, `results/KEY.json` the results.
        workers: processes.
        ray: address of a Ray cluster, in place of processes.
        progress: show a progress bar.
        title: title of the progress bar.
        on_result: called with the number of a trial and its result as soon as it is known.

    Returns:
        One dict for each trial: `status` done or failed, `error`, and if done `software`, `mean`, `worst`, `std`, of
        chips (accuracies as parts of 1, on test images), `val_mean` and so on where images were held out, `chips`,
        `train_seconds`, `seconds`, and whether it was `cached`.

    Raises:
        HratError: another sweep is at work in the folder, or a cluster does not answer.
    """
    if workers < 1:
        raise HratError(f"expected 1 worker or more, got {workers}")
    root = Path(folder).absolute()  # machines of a cluster may be in another folder
    (root / "results").mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any] | None] = [None] * len(trials)

    def note(number: int, result: dict[str, Any]) -> None:
        results[number] = result
        if on_result is not None:
            on_result(number, result)

    with _alone_in(root), Display(title, len(trials), wanted=progress) as display:
        same: dict[str, list[int]] = {}
        for number, trial in enumerate(trials):
            same.setdefault(trial.key, []).append(number)
        groups: dict[str, list[int]] = {}
        for key, numbers in same.items():
            cached_result = _known(root, key)
            for number in numbers if cached_result is not None else ():
                note(number, {**(cached_result or {}), "cached": True})
            if cached_result is None:
                groups.setdefault(trials[numbers[0]].training_key, []).append(numbers[0])
        done = sum(result is not None for result in results)
        display.step(done, f"{done} known already" if done else "")
        threads = cores_for(workers) if ray is None else 1
        # First one trial of each training, then, side by side, those that find it there.
        for stage in ([group[0] for group in groups.values()], [n for group in groups.values() for n in group[1:]]):
            left = [number for number in stage if results[number] is None]
            jobs = [
                ([trials[n].to_dict()], str(path_within(root, "trained", trials[n].training_key)), threads)
                for n in left
            ]
            outcomes_by_job = (
                in_processes(work, jobs, workers=workers) if ray is None else on_ray(work, jobs, address=ray)
            )
            for job, outcomes in outcomes_by_job if jobs else ():
                outcome = {"status": "failed", "error": outcomes.why} if isinstance(outcomes, Died) else outcomes[0]
                first = trials[left[job]]
                known_now = same[first.key]
                if outcome["status"] == "done":
                    path = path_within(root, "results", first.key, suffix=".json")
                    write_atomic(path, json.dumps(outcome, indent=1) + "\n")
                elif not (root / "trained" / first.training_key / "model.pt").is_file():
                    # There is nothing to put on the other chips either.
                    known_now = [n for other in groups[first.training_key] for n in same[trials[other].key]]
                for number in known_now:
                    note(number, {**outcome, "cached": False})
                done = sum(result is not None for result in results)
                display.step(done, _best(results))
    return [result for result in results if result is not None]


def _best(results: Sequence[dict[str, Any] | None]) -> str:
    means = [result["mean"] for result in results if result is not None and result["status"] == "done"]
    failed = sum(result is not None and result["status"] == "failed" for result in results)
    words = [f"mean {min(means):.2%} to {max(means):.2%}"] if means else []
    return ", ".join([*words, *([f"{failed} failed"] if failed else [])])


def _known(root: Path, key: str) -> dict[str, Any] | None:
    try:
        result = json.loads((root / "results" / f"{key}.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None  # not there, or not whole: done again
    whole = isinstance(result, dict) and result.get("status") == "done" and result.keys() >= set(FIGURES)
    return result if whole else None


@contextmanager
def _alone_in(root: Path) -> Iterator[None]:
    """Two sweeps in one folder would train the same networks into the same files."""
    lock = filelock.FileLock(path_within(root, "sweep.lock"), timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise HratError(f"another sweep is at work in {root}; wait for it, or give another folder") from error
    try:
        yield
    finally:
        lock.release()
