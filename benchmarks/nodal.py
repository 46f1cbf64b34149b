"""Tiles with wires: hrat's nodal solver beside a plain sparse solution and badcrossbar, in one run, taking turns.

    python benchmarks/nodal.py [--sizes 64 128 256] [--badcrossbar path/to/its/python]
    python benchmarks/nodal.py --chips lenet5.chips --data mnist    # inference with wires beside the behavioural one

Each solves square tiles of devices between 5 and 150 uS with 1 ohm a segment, everything anew in each turn. Prints a
table of medians, and stops if two do not agree to 1e-9.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

INPUTS, WIRE_OHM, AGREEMENT = 64, 1.0, 1e-9
Solve = Callable[[], np.ndarray]

BADCROSSBAR = """
import json, logging, sys, time, warnings
warnings.simplefilter("ignore")
import badcrossbar
import numpy as np
logging.disable(logging.INFO)
for line in sys.stdin:
    task = json.loads(line)
    data = np.load(task["tile"])
    start = time.perf_counter()
    solved = badcrossbar.compute(
        data["v_V"].T, 1 / data["g_S"], r_i=task["wire_ohm"], node_voltages=False, all_currents=False
    )
    seconds = time.perf_counter() - start
    np.save(task["answer"], solved.currents.output)
    print(json.dumps(seconds), flush=True)
"""


def sparse(g_S: np.ndarray, v_V: np.ndarray) -> np.ndarray:
    """The nodal equations, factored by SuperLU: (rows, cols) and (inputs, rows) -> (inputs, cols)."""
    from scipy.sparse import coo_array
    from scipy.sparse.linalg import splu

    rows, cols = g_S.shape
    word = np.arange(rows * cols).reshape(rows, cols)
    bit = word + rows * cols
    first = np.concatenate([word[:, :-1].ravel(), bit[:-1].ravel(), word.ravel()])
    second = np.concatenate([word[:, 1:].ravel(), bit[1:].ravel(), bit.ravel()])
    g = np.concatenate([np.full(len(first) - g_S.size, 1 / WIRE_OHM), g_S.ravel()])
    ends = np.concatenate([word[:, 0], bit[-1]])
    values = np.concatenate([g, g, -g, -g, np.full(len(ends), 1 / WIRE_OHM)])
    rows_of = np.concatenate([first, second, first, second, ends])
    cols_of = np.concatenate([first, second, second, first, ends])
    matrix = coo_array((values, (rows_of, cols_of)), shape=(2 * g_S.size, 2 * g_S.size)).tocsc()
    given = np.zeros((2 * g_S.size, len(v_V)))
    given[word[:, 0]] = v_V.T / WIRE_OHM
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(given)[bit[-1]].T / WIRE_OHM


class Worker:
    """badcrossbar in its own Python; times itself, so that the data's way there and back does not count."""

    def __init__(self, python: str, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [python, "-c", BADCROSSBAR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def solve(self, g_S: np.ndarray, v_V: np.ndarray) -> tuple[np.ndarray, float]:
        tile, answer = self.folder / "tile.npz", self.folder / "answer.npy"
        np.savez(tile, g_S=g_S, v_V=v_V)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        task = {"tile": str(tile), "answer": str(answer), "wire_ohm": WIRE_OHM}
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit("badcrossbar's process has ended; its message is above")
        return np.load(answer), float(line)


@contextmanager
def worker(python: str | None) -> Iterator[Worker | None]:
    if python is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        started = Worker(python, Path(folder))
        try:
            yield started
        finally:
            assert started.process.stdin is not None
            started.process.stdin.close()
            started.process.wait()


def timed(solve: Solve) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    outputs = solve()
    return outputs, time.perf_counter() - start


def compare(size: int, turns: int, peer: Worker | None, sparse_up_to: int) -> dict[str, float]:
    """Median seconds of each candidate, after a first turn that does not count."""
    import torch

    from hrat.simulation.nodal import TileSolver, Wires, effective_conductance

    rng = np.random.default_rng(size)
    g_S, v_V = rng.uniform(5e-6, 150e-6, (size, size)), rng.uniform(-0.3, 0.3, (INPUTS, size))
    g, v, wires = torch.from_numpy(g_S), torch.from_numpy(v_V), Wires(word_ohm=WIRE_OHM, bit_ohm=WIRE_OHM)
    candidates: dict[str, Callable[[], tuple[np.ndarray, float]]] = {
        "hrat, all inputs": lambda: timed(lambda: effective_conductance(g, wires).numpy()),
        "hrat, 64 inputs": lambda: timed(lambda: TileSolver(g, wires).compute(v).numpy()),
    }
    if size <= sparse_up_to:
        candidates["SuperLU, 64 inputs"] = lambda: timed(lambda: sparse(g_S, v_V))
        if peer is not None:
            candidates["badcrossbar, 64 inputs"] = lambda: peer.solve(g_S, v_V)
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(turns + 1):
        outputs = {}
        for name, run in candidates.items():
            answer, seconds = run()
            outputs[name] = v_V @ answer if name == "hrat, all inputs" else answer
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


def inference(file: Path, data: str, turns: int) -> None:
    """All test images through a chip that is set up, with wires and without."""
    import torch
    from timing import medians

    import hrat
    from hrat.simulation import Behavioural, ChipSolver, Nodal
    from hrat.training import load_data

    chip = hrat.ProgrammedChip.load(file)[0]
    wired = chip.with_array(limit_wires=True, r_word_ohm=WIRE_OHM, r_bit_ohm=WIRE_OHM)
    images = torch.stack([image for image, _ in load_data(data).test]).split(500)
    solvers = {}
    for name, one, method in (("behavioural", chip, Behavioural()), ("nodal", wired, Nodal())):
        start = time.perf_counter()
        solvers[name] = ChipSolver(one, methods=dict.fromkeys(one.layers, method))
        print(f"{name}: set up in {time.perf_counter() - start:.2f} s")
    input_name = next(node.args[0] for node in chip.deployment.graph if node.op == "input")

    def run(solver: ChipSolver) -> None:
        for batch in images:
            solver.compute({input_name: batch})

    measured = medians({name: lambda solver=solver: run(solver) for name, solver in solvers.items()}, turns=turns)
    for name, (seconds, spread) in measured.items():
        ratio = seconds / measured["behavioural"][0]
        print(f"{name}: {sum(map(len, images)):,} images in {seconds:.3f} s +- {spread:.3f}, {ratio:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--badcrossbar", metavar="PYTHON", help="the Python that has badcrossbar")
    parser.add_argument("--sparse-up-to", type=int, default=512, help="largest tile for the two other solvers")
    parser.add_argument("--chips", type=Path, help="measure inference with this file's first chip instead")
    parser.add_argument("--data", default="mnist", help="the images of that")
    arguments = parser.parse_args()
    if arguments.chips is not None:
        inference(arguments.chips, arguments.data, arguments.turns)
        return
    names = ["hrat, all inputs", "hrat, 64 inputs", "SuperLU, 64 inputs", "badcrossbar, 64 inputs"]
    print("| tile | " + " | ".join(names) + " |")
    print("|---|" + "---:|" * len(names))
    with worker(arguments.badcrossbar) as peer:
        for size in arguments.sizes:
            medians = compare(size, arguments.turns, peer, arguments.sparse_up_to)
            cells = (f"{medians[name]:.3f} s" if name in medians else "-" for name in names)
            print(f"| {size} x {size} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
