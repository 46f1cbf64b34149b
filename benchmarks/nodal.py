"""Tiles with wires: hrat's nodal solver beside other ways to solve them, in one run, taking turns.

    python benchmarks/nodal.py [--sizes 64 128 256] [--peers path/to/their/python]
    python benchmarks/nodal.py --chips lenet5.chips --data mnist    # inference with wires beside the behavioural one

Each solves square tiles of devices between 5 and 150 uS with 1 ohm a segment, everything anew in each turn. Prints a
table of medians, and stops if two do not agree to 1e-9. The peers' Python is one of its own with scipy and any of
scikit-sparse (CHOLMOD), pypardiso (PARDISO) and badcrossbar:

    pip install scipy "scikit-sparse==0.4.16" pypardiso pathvalidate sigfig && pip install --no-deps badcrossbar==1.1.0
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from timing import machine

INPUTS, WIRE_OHM, AGREEMENT, TOLERANCE = 64, 1.0, 1e-9, 1e-11
Solve = Callable[[], np.ndarray]
ALL_INPUTS = "hrat, all inputs"
ITERATED = 256
"""Largest tile for conjugate gradients, which take longest."""


def conjugate_gradients(g_S: np.ndarray, v_V: np.ndarray) -> np.ndarray:
    """The same by iteration on the currents i of the devices, all inputs at once: `(1/G + Z) i = v`.

    `Z`, what currents lose on the wires, is sums along lines. Preconditioned with G, that is with ideal wires.
    """
    import torch

    from hrat.simulation.nodal import Wires
    from hrat.simulation.nodal.losses import node_voltages

    g, v = torch.from_numpy(g_S)[None, :, :, None], torch.from_numpy(v_V).T[None]
    wires = Wires(word_ohm=WIRE_OHM, bit_ohm=WIRE_OHM)

    def total(x: torch.Tensor) -> torch.Tensor:
        return x.sum((1, 2), keepdim=True)

    i = g * v[:, :, None]
    left_V = node_voltages(v, i, wires).device_V - i / g
    towards = g * left_V
    power = first = total(left_V * towards)
    while bool((power > TOLERANCE**2 * first).any()):
        lost_V = towards / g - node_voltages(torch.zeros_like(v), towards, wires).device_V
        step = power / total(towards * lost_V)
        i += step * towards
        left_V -= step * lost_V
        before, power = power, total(left_V * g * left_V)
        towards = g * left_V + power / before * towards
    return i.sum(1)[0].T.numpy()


class Peers:
    """Other solvers in a Python of their own, which times them: the data's way there and back does not count."""

    def __init__(self, python: str, folder: Path, kind: str) -> None:
        self.folder, self.kind = folder, kind
        self.process = subprocess.Popen(
            [python, str(Path(__file__).with_name("nodal_peers.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.names: list[str] = self._ask({})

    def solve(self, name: str, g_S: np.ndarray, v_V: np.ndarray) -> tuple[np.ndarray, float]:
        tile, answer = self.folder / "tile.npz", self.folder / "answer.npy"
        np.savez(tile, g_S=g_S, v_V=v_V)
        task = {"name": name, "tile": str(tile), "answer": str(answer), "wire_ohm": WIRE_OHM, "clock": self.kind}
        seconds: float = self._ask(task)
        return np.load(answer), seconds

    def _ask(self, task: dict[str, Any]) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit("the other Python has ended; its message is above")
        return json.loads(line)


@contextmanager
def peers(python: str | None, kind: str) -> Iterator[Peers | None]:
    if python is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        started = Peers(python, Path(folder), kind)
        try:
            yield started
        finally:
            assert started.process.stdin is not None
            started.process.stdin.close()
            started.process.wait()


def clock(kind: str) -> float:
    """Seconds: wall time, or what the process has had of all cores."""
    return time.process_time() if kind == "cpu" else time.perf_counter()


def timed(kind: str, solve: Solve) -> tuple[np.ndarray, float]:
    start = clock(kind)
    outputs = solve()
    return outputs, clock(kind) - start


def compare(size: int, turns: int, others: Peers | None, kind: str) -> dict[str, float]:
    """Median seconds of each candidate, after a first turn that does not count."""
    import torch

    from hrat.simulation.nodal import TileSolver, Wires, effective_conductance

    rng = np.random.default_rng(size)
    g_S, v_V = rng.uniform(5e-6, 150e-6, (size, size)), rng.uniform(-0.3, 0.3, (INPUTS, size))
    g, v, wires = torch.from_numpy(g_S), torch.from_numpy(v_V), Wires(word_ohm=WIRE_OHM, bit_ohm=WIRE_OHM)
    candidates: dict[str, Callable[[], tuple[np.ndarray, float]]] = {
        ALL_INPUTS: lambda: timed(kind, lambda: effective_conductance(g, wires).numpy()),
        "hrat": lambda: timed(kind, lambda: TileSolver(g, wires).compute(v).numpy()),
    }
    if others is not None:
        if size <= ITERATED:
            candidates["conjugate gradients"] = lambda: timed(kind, lambda: conjugate_gradients(g_S, v_V))
        for name in others.names:
            candidates[name] = partial(others.solve, name, g_S, v_V)
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(turns + 1):
        outputs = {}
        for name, run in candidates.items():
            answer, seconds = run()
            outputs[name] = v_V @ answer if name == ALL_INPUTS else answer
            if turn:
                times[name].append(seconds)
    check(outputs, size)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def check(outputs: dict[str, np.ndarray], size: int) -> None:
    (first, expected), *others = outputs.items()
    for name, answer in others:
        error = np.abs(answer - expected).max() / np.abs(expected).max()
        if error > AGREEMENT:
            sys.exit(f"{size} x {size}: {first} and {name} differ by {error:.1e} of the largest current")


def inference(file: Path, data: str, turns: int, kind: str) -> None:
    """All test images through a chip that is set up, with wires and without."""
    import torch

    import hrat
    from hrat.simulation import Behavioural, ChipSolver, Nodal
    from hrat.training import load_data

    chip = hrat.ProgrammedChip.load(file)[0]
    wired = chip.with_array(limit_wires=True, r_word_ohm=WIRE_OHM, r_bit_ohm=WIRE_OHM)
    images = torch.stack([image for image, _ in load_data(data).test]).split(500)
    solvers = {}
    for name, one, solver in (("behavioural", chip, Behavioural()), ("nodal", wired, Nodal())):
        start = clock(kind)
        solvers[name] = ChipSolver(one, solvers=dict.fromkeys(one.layers, solver))
        print(f"{name}: set up in {clock(kind) - start:.2f} s")
    input_name = next(node.args[0] for node in chip.deployment.graph if node.op == "input")

    times: dict[str, list[float]] = {name: [] for name in solvers}
    for turn in range(turns + 1):
        for name, solver in solvers.items():
            start = clock(kind)
            for batch in images:
                solver.compute({input_name: batch})
            if turn:
                times[name].append(clock(kind) - start)
    middle = {name: statistics.median(measured) for name, measured in times.items()}
    print(f"{sum(map(len, images)):,} images, {kind} time; {machine()}")
    for name, seconds in middle.items():
        print(f"{name}: {seconds:.3f} s, {seconds / middle['behavioural']:.2f} times the behavioural one")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--peers", metavar="PYTHON", help="the Python that has the other solvers")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu where the machine is not quiet")
    parser.add_argument("--chips", type=Path, help="measure inference with this file's first chip instead")
    parser.add_argument("--data", default="mnist", help="the images of that")
    arguments = parser.parse_args()
    if arguments.chips is not None:
        inference(arguments.chips, arguments.data, arguments.turns, arguments.clock)
        return
    print(f"{INPUTS} inputs if not said otherwise; {arguments.clock} time; {machine()}")
    with peers(arguments.peers, arguments.clock) as others:
        for place, size in enumerate(arguments.sizes):
            found = compare(size, arguments.turns, others, arguments.clock)
            if not place:
                names = list(found)
                print("| tile | " + " | ".join(found) + " |")
                print("|---|" + "---:|" * len(found))
            cells = (f"{found[name]:.3f} s" if name in found else "-" for name in names)
            print(f"| {size} x {size} | " + " | ".join(cells) + " |", flush=True)
    # Of this process; the other solvers have their own.
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
