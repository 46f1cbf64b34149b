"""hrat and its peers on the same work, each in its own environment, in turns.

python benchmarks/peers/drive.py [--works fc4 lenet5 ...] [--peers hrat brevitas ...] [--turns 15] [--out results.json]
"""

import argparse
import json
import queue
import statistics
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from adapters import CIRCUIT_SOLVERS, PEERS
from environments import ENVIRONMENTS, FOLDER, HERE, REPOSITORY, SetUpError, log, make_folder, set_up
from works import WORKS, TileWork

START_LIMIT_S, ANSWER_LIMIT_S = 1200.0, 300.0
REQUEST_S, MOST_CALLS = 0.3, 20
"""A worker calls as often in a turn as takes this long, and at most so often."""
FREE_GB = 4.0
"""No further worker is started while less memory is free: those that wait form a round of their own."""

Row = dict[str, Any]


class WorkerError(Exception):
    """A worker gave no figures; the message says why."""


class Worker:
    """The process of one peer and one work."""

    def __init__(self, peer: str, work: str, python: Path, folder: Path) -> None:
        """Start it, and wait until it has shown what its peer does. What else it says goes to a file in `folder`."""
        self.peer, self.work = peer, work
        with (folder / f"{peer}-{work}.stderr").open("w") as errors:
            self.process = subprocess.Popen(
                [str(python), str(HERE / "worker.py"), peer, work],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=REPOSITORY,
            )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.about = self._answer(START_LIMIT_S)
        self.seconds: dict[tuple[str, str], list[float]] = {}
        self.failure = ""

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._answers.put(line)
        self._answers.put("")  # it has ended

    def _answer(self, limit_s: float) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=limit_s)
        except queue.Empty:
            self.end()
            raise WorkerError(f"gave no answer in {limit_s:.0f} s") from None
        if not line:
            raise WorkerError(f"ended with exit status {self.process.wait()}")
        answer = json.loads(line)
        if "skipped" in answer:
            self.end()
            raise WorkerError(answer["skipped"])
        return answer

    def turn(self, kind: str) -> None:
        """Time plain PyTorch, then the peer."""
        for who in ("plain", "peer"):
            calls = round(REQUEST_S / self.about["call_s"][f"{kind}/{who}"])
            request = {"kind": kind, "who": who, "calls": min(max(calls, 1), MOST_CALLS)}
            assert self.process.stdin is not None
            try:
                self.process.stdin.write(json.dumps(request) + "\n")
                self.process.stdin.flush()
            except BrokenPipeError:
                raise WorkerError("has ended by itself") from None
            self.seconds.setdefault((kind, who), []).extend(self._answer(ANSWER_LIMIT_S)["seconds"])

    def rows(self) -> list[Row]:
        """What was measured, one row for each kind."""
        rows = []
        for kind in WORKS[self.work].kinds:
            median_s, spread_s = middle_and_spread(self.seconds[kind, "peer"])
            plain_s, plain_spread_s = middle_and_spread(self.seconds[kind, "plain"])
            about = {key: value for key, value in self.about.items() if key != "call_s"}
            rows.append(
                {
                    **row(self.peer, self.work, kind),
                    **about,
                    "median_s": median_s,
                    "spread_s": spread_s,
                    "plain_median_s": plain_s,
                    "plain_spread_s": plain_spread_s,
                    "ratio": median_s / plain_s,
                }
            )
        return rows

    def end(self) -> None:
        """Close its input, upon which it ends; kill it if it does not."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
            self.process.wait(timeout=5)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self.process.kill()
            self.process.wait()


def middle_and_spread(seconds: list[float]) -> tuple[float, float]:
    """Median, and half the distance between the quartiles."""
    if len(seconds) < 2:
        return seconds[0], 0.0
    low, middle, high = statistics.quantiles(seconds, n=4)
    return middle, (high - low) / 2


def row(peer: str, work: str, kind: str, skipped: str = "") -> Row:
    """A row without figures: for a peer that gave none, `skipped` says why."""
    names = "version torch python threads noisy_train noisy_eval noisy_chip loss_first loss_last loss_chip"
    figures = "median_s spread_s plain_median_s plain_spread_s ratio"
    empty = dict.fromkeys(f"{names} {figures}".split())
    return {"peer": peer, "work": work, "kind": kind, **empty, "note": "", "skipped": skipped}


def skipped_rows(peer: str, work: str, reason: str) -> list[Row]:
    """One row for each kind of a work that a peer does not do."""
    log(f"{work}: {peer} left out: {reason}")
    return [row(peer, work, kind, reason) for kind in WORKS[work].kinds]


def interpreters(peers: list[str], folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Peer -> Python, and peer -> why it has none. hrat's is that which runs this."""
    found, missing = {"hrat": Path(sys.executable)}, {}
    for environment in ENVIRONMENTS:
        if not set(environment.peers) & set(peers):
            continue
        try:
            python = set_up(environment, folder)
            found.update(dict.fromkeys(environment.peers, python))
        except SetUpError as error:
            missing.update(dict.fromkeys(environment.peers, str(error)))
    return found, missing


def free_memory_gb() -> float:
    """Memory that a new process could have; plenty where Linux is not asked."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return float("inf")
    fields = dict(line.split(":", 1) for line in info.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024 / 1e9


def take_turns(workers: list[Worker], turns: int) -> None:
    """One process computes at a time. A worker that fails keeps its reason and takes no more turns."""
    for turn in range(turns):
        log(f"{workers[0].work}: turn {turn + 1} of {turns}: {', '.join(one.peer for one in workers)}")
        for kind in WORKS[workers[0].work].kinds:
            for worker in workers:
                if not worker.failure:
                    try:
                        worker.turn(kind)
                    except WorkerError as error:
                        worker.failure = str(error)


def measure_work(work: str, turns: int, pythons: dict[str, Path], folder: Path) -> list[Row]:
    """All peers on one work, in rounds of as many as memory holds."""
    rows, waiting = [], list(pythons)
    while waiting:
        workers: list[Worker] = []
        while waiting and (not workers or free_memory_gb() > FREE_GB):
            peer = waiting.pop(0)
            log(f"{work}: starting {peer}")
            try:
                workers.append(Worker(peer, work, pythons[peer], folder))
            except WorkerError as error:
                rows += skipped_rows(peer, work, str(error))
        if workers:
            take_turns(workers, turns)
        for worker in workers:
            worker.end()
            rows += skipped_rows(worker.peer, work, worker.failure) if worker.failure else worker.rows()
    return rows


def measure(works: list[str], turns: int, folder: Path = FOLDER, *, peers: list[str] | None = None) -> list[Row]:
    """One row for each work, kind and peer. Environments that are missing in `folder` are made first.

    Args:
        works: names of `works.WORKS`.
        turns: how often each peer takes its turn.
        folder: where the environments are.
        peers: names of `adapters.PEERS`; all of them by default.
    """
    peers = list(PEERS) if peers is None else peers
    folder = make_folder(folder)
    pythons, missing = interpreters(peers, folder)
    rows = []
    for work in works:
        fitting = [one for one in peers if (one in CIRCUIT_SOLVERS) == isinstance(WORKS[work], TileWork)]
        for peer in fitting:
            if peer in missing:
                rows += skipped_rows(peer, work, missing[peer])
        rows += measure_work(work, turns, {peer: pythons[peer] for peer in fitting if peer in pythons}, folder)
    return rows


def table(rows: list[Row]) -> str:
    """For a quick look; `--out` has everything."""
    lines = [f"{'work':9}{'kind':15}{'peer':19}{'ms':>9} +-{'':6}{'plain ms':>9}{'ratio':>8}  noisy  loss"]
    for one in rows:
        start = f"{one['work']:9}{one['kind']:15}{one['peer']:19}"
        if one["skipped"]:
            lines.append(f"{start}left out: {one['skipped']}")
            continue
        noisy = "".join(what[0] if one[f"noisy_{what}"] else "-" for what in ("train", "eval", "chip"))
        loss = "" if one["loss_first"] is None else f"{one['loss_first']:.2f} -> {one['loss_last']:.2f}"
        lines.append(
            f"{start}{one['median_s'] * 1e3:9.2f} +-{one['spread_s'] * 1e3:<6.2f}{one['plain_median_s'] * 1e3:9.2f}"
            f"{one['ratio']:8.2f}  {noisy:5}  {loss}"
        )
    return "\n".join([*lines, "noisy: t in training, e in two inferences of one chip, c from chip to chip"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", nargs="+", choices=list(WORKS), default=list(WORKS), metavar="WORK")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS), metavar="PEER")
    parser.add_argument("--turns", type=int, default=15, help="how often each peer takes its turn")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the environments are")
    parser.add_argument("--out", type=Path, help="all figures, as JSON")
    options = parser.parse_args()
    rows = measure(options.works, options.turns, options.folder, peers=options.peers)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
