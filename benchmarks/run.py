"""Training step and simulation against plain PyTorch, side by side in one run.

python benchmarks/run.py [--turns 30] [--out docs/benchmarks/summary.md]
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from timing import machine, medians
from torch import nn

import hrat
from hrat.files import write_atomic
from hrat.recipes import build_network
from hrat.simulation import BehaviouralSolver

BATCH, TEST_BATCH, CHIPS = 128, 500, 20
SPEC = "generic-4bit"


def step(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    """Forward, backward and SGD."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    model.train()

    def run() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    return run


def training(network: str, turns: int) -> list[str]:
    """One row for each form of batch norm."""
    x, y = torch.randn(BATCH, 1, 28, 28), torch.randint(0, 10, (BATCH,))
    candidates = {"plain PyTorch": step(build_network(network), x, y)}
    for form in ("two_pass", "slice", "one_pass"):
        candidates[form] = step(hrat.prepare(build_network(network), SPEC, x, batch_norm=form), x, y)
    measured = medians(candidates, turns=turns)
    plain = measured["plain PyTorch"][0]
    return [
        f"| {network}, batch {BATCH} | {name} | {middle * 1e3:.2f} | {spread * 1e3:.2f} | {middle / plain:.2f} |"
        for name, (middle, spread) in measured.items()
    ]


def simulation(network: str, turns: int) -> list[str]:
    """Plain inference, one chip, and 20 chips in one call, for each chip."""
    model, x = build_network(network).eval(), torch.randn(TEST_BATCH, 1, 28, 28)
    chips = hrat.program(hrat.deploy(hrat.prepare(model, SPEC, x[:64])), chips=CHIPS)
    one, many = BehaviouralSolver(chips[0]), BehaviouralSolver(chips)
    with torch.no_grad():
        measured = medians(
            {
                "plain PyTorch": lambda: model(x),
                "one chip": lambda: one.compute({"input": x}),
                f"{CHIPS} chips": lambda: many.compute({"input": x}),
            },
            turns=max(3, turns // 3),
        )
    plain = measured["plain PyTorch"][0]
    rows = []
    for name, (middle, spread) in measured.items():
        chips_at_once = CHIPS if name.startswith(str(CHIPS)) else 1
        each = middle / chips_at_once
        rows.append(
            f"| {network}, {TEST_BATCH} images | {name} | {each * 1e3:.2f} | {spread / chips_at_once * 1e3:.2f} | "
            f"{each / plain:.2f} |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=30, help="how often each candidate takes its turn")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/summary.md"))
    options = parser.parse_args()
    head = "| work | who | median, ms | spread, ms | ratio to plain |\n|---|---|---:|---:|---:|"
    lines = [
        "# Speed",
        "",
        "Medians of turns taken alternately in one process; spread is half the distance between the quartiles.",
        "",
        f"Machine: {machine()}. Command: `python benchmarks/run.py --turns {options.turns}`. Hardware: `{SPEC}`.",
        "",
        "## Training step",
        "",
        "Forward, backward and SGD in eager mode. `two_pass`, `slice` and `one_pass` are the ways to have batch",
        "statistics; see [the experiment](../experiments/batch-norm-forms.md).",
        "",
        head,
        *(row for network in ("fc4", "lenet5") for row in training(network, options.turns)),
        "",
        "## Simulation",
        "",
        f"Behavioural solver, time for each chip; {CHIPS} chips in one call.",
        "",
        head,
        *(row for network in ("fc4", "lenet5") for row in simulation(network, options.turns)),
        "",
    ]
    write_atomic(options.out, "\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
