"""One peer and one work in a process of its own: `python worker.py PEER WORK`, in the peer's environment.

Says one line of JSON about the peer, then answers requests, each a line of JSON such as
{"kind": "training step", "who": "peer", "calls": 5}, with {"seconds": [...]}, until its input ends.
"""

import copy
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import adapters
from works import INFERENCE, SOLVE, TRAINING, WORKS, NetworkWork, TileWork

Candidates = dict[tuple[str, str], Callable[[], object]]
"""(kind, "plain" or "peer") -> what is timed."""


def network_work(adapter: Any, work: NetworkWork) -> tuple[dict[str, Any], Candidates]:
    """The network in plain PyTorch and as the peer has it."""
    import torch
    from torch.nn import functional as F

    def differ(infer: Callable[[torch.Tensor], Any], again: Callable[[torch.Tensor], Any]) -> bool:
        with torch.no_grad():
            return not torch.equal(infer(x), again(x))

    def trainer(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Callable[[], torch.Tensor]:
        after_step = adapter.after_step if model is not plain else lambda _: None

        def step() -> torch.Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            after_step(model)
            return loss

        return step

    def inference(infer: Callable[[torch.Tensor], Any], images: torch.Tensor) -> Callable[[], Any]:
        def run() -> Any:
            with torch.no_grad():
                return infer(images)

        return run

    torch.manual_seed(0)
    x, y = torch.randn(work.batch, *work.shape), torch.randint(0, 10, (work.batch,))
    images = torch.randn(work.images, *work.shape)
    plain = work.build()
    peer = adapter.convert(copy.deepcopy(plain), x).train()
    plain_step = trainer(plain, torch.optim.SGD(plain.parameters(), lr=work.lr))
    peer_step = trainer(peer, adapter.optimizer(peer, work.lr))

    peer_step()  # a tile may draw its first weight noise only then
    before = peer(x)
    adapter.after_step(peer)  # where errors are drawn then
    noisy_train = bool((before != peer(x)).any())
    losses = [peer_step().item() for _ in range(work.steps)]
    # Two chips of copies: programming shall leave the model that goes on training as it is.
    chip, other = (adapter.chip(copy.deepcopy(peer)) for _ in range(2))
    with torch.no_grad():
        loss_chip = F.cross_entropy(chip(x).reshape(work.batch, 10), y).item()
    report = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "noisy_train": noisy_train,
        "noisy_eval": differ(chip, chip),
        "noisy_chip": differ(chip, other),
        "loss_first": losses[0],
        "loss_last": losses[-1],
        "loss_chip": loss_chip,
    }
    plain_infer = copy.deepcopy(plain).eval()
    candidates: Candidates = {
        (TRAINING, "plain"): plain_step,
        (TRAINING, "peer"): peer_step,
        (INFERENCE, "plain"): inference(plain_infer, images),
        (INFERENCE, "peer"): inference(chip, images),
    }
    return report, candidates


def tile_work(adapter: Any, work: TileWork) -> tuple[dict[str, Any], Candidates]:
    """A crossbar of 1-100 uS, inputs up to 0.2 V."""
    import numpy as np

    rng = np.random.default_rng(0)
    voltages = rng.uniform(-0.2, 0.2, work.size)
    resistances = 1 / rng.uniform(1e-6, 1e-4, (work.size, work.size))
    arguments = voltages, resistances, work.wire_ohm
    expected = adapter.plain(*arguments)
    error = float(np.abs(adapter.peer(*arguments) - expected).max() / np.abs(expected).max())
    if error > 1e-6:
        raise ArithmeticError(f"its currents are not those of the nodal equations: off by {error:.1e}")
    return {}, {
        (SOLVE, "plain"): lambda: adapter.plain(*arguments),
        (SOLVE, "peer"): lambda: adapter.peer(*arguments),
    }


def timed(run: Callable[[], object], calls: int) -> list[float]:
    """Seconds of each call. A first one is left out, which finds the caches full of the other workers' data."""
    if calls > 1:
        run()
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    peer, name = sys.argv[1:]
    # Libraries write to standard output too: keep it for the answers, and send theirs to standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")

    try:
        work = WORKS[name]
        adapter = adapters.load(peer)
        reason = adapter.refuses(name) if isinstance(work, NetworkWork) else ""
        if reason:
            say({"skipped": reason})
            return
        make = network_work if isinstance(work, NetworkWork) else tile_work
        report, candidates = make(adapter, work)
        about = {"version": version(adapter.package), "python": platform.python_version(), "note": adapter.note}
        # How long one call takes, so that whoever asks can choose how many.
        quick = {f"{kind}/{who}": timed(run, 1)[0] for (kind, who), run in candidates.items()}
        say({**about, **report, "call_s": quick})
        for line in sys.stdin:
            request = json.loads(line)
            say({"seconds": timed(candidates[request["kind"], request["who"]], request["calls"])})
    except Exception as error:
        traceback.print_exc()
        say({"skipped": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
