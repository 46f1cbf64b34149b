"""What wires cost in accuracy, and what compensation and training with them regain.

    python benchmarks/wires.py                             # LeNet-5, a few minutes
    python benchmarks/wires.py fc4-mnist5k:6 --chips 10

One network is trained as if its wires were ideal, and one for each resistance with the wires in its restrictions. Each
is programmed and simulated with the wires.
"""

import argparse
import dataclasses
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from experiment import experiment
from timing import machine

import hrat
from hrat.artifacts import Deployment
from hrat.experiments import Recipe, train
from hrat.mapping import compensate
from hrat.spec import HardwareSpec
from hrat.training import ArrayDataset, DataSplits, load_data, make_loader

RESISTANCES_OHM = (0.35, 1.0, 2.8)
"""Of a segment: published models of arrays have 0.35 to 2.8 ohm."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    r_ohm: float
    training: str
    accuracies: list[float]
    seconds: float
    """Of training."""

    def __str__(self) -> str:
        mean, worst = 100 * statistics.mean(self.accuracies), 100 * min(self.accuracies)
        return f"| {self.r_ohm:g} | {self.training} | {mean:.2f} | {worst:.2f} | {self.seconds:.0f} |"


def accuracies(deployment: Deployment, images: ArrayDataset, options: argparse.Namespace) -> list[float]:
    chips = hrat.program(deployment, chips=options.chips)
    return list(hrat.simulate(chips, make_loader(images, 500), solver=options.solver).accuracies or ())


def trained(recipe: Recipe, spec: HardwareSpec, data: DataSplits) -> tuple[Deployment, float]:
    """The deployment, and how long training took, s."""
    with tempfile.TemporaryDirectory() as folder:
        run = train(recipe, Path(folder), spec=spec, data=data, progress=False)
    return hrat.deploy(run.model), run.seconds


def measure(recipe: Recipe, options: argparse.Namespace) -> None:
    """Train, compensate and simulate; print each line as soon as it is there."""
    spec = hrat.load_spec(recipe.spec, rows=options.tile, cols=options.tile)
    data = load_data(recipe.data)
    ideal, seconds = trained(recipe, spec, data)
    print(Row(r_ohm=0.0, training="without wires", accuracies=accuracies(ideal, data.test, options), seconds=seconds))
    for r_ohm in options.ohm:
        wired = spec.replace(r_word_ohm=r_ohm, r_bit_ohm=r_ohm, limit_wires=True)
        plain = dataclasses.replace(ideal, spec=wired)
        figures = accuracies(plain, data.test, options)
        print(Row(r_ohm=r_ohm, training="without wires", accuracies=figures, seconds=seconds), flush=True)
        start = time.perf_counter()
        compensated, report = compensate(plain)
        print(f"compensated in {time.perf_counter() - start:.1f} s\n{report}", file=sys.stderr, flush=True)
        figures = accuracies(compensated, data.test, options)
        print(Row(r_ohm=r_ohm, training="the same, compensated", accuracies=figures, seconds=seconds), flush=True)
        aware, longer = trained(recipe, wired, data)
        figures = accuracies(aware, data.test, options)
        print(Row(r_ohm=r_ohm, training="with wires", accuracies=figures, seconds=longer), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", type=experiment, default="lenet5-mnist5k:6", metavar="RECIPE[:EPOCHS]")
    parser.add_argument("--chips", type=int, default=10, help="chips for each line")
    parser.add_argument("--ohm", type=float, nargs="+", default=RESISTANCES_OHM, help="resistances of a segment")
    parser.add_argument("--tile", type=int, default=128, help="pairs of a tile in each direction")
    parser.add_argument("--solver", default="behavioural", help="what simulates the chips")
    options = parser.parse_args()
    torch.manual_seed(0)
    recipe: Recipe = options.recipe
    print(f"Recipe `{recipe.name}`, {recipe.fit.epochs} epochs; {options.chips} chips, solved by {options.solver};")
    print(f"tiles of {options.tile}x{options.tile} pairs. Machine: {machine()}.\n")
    print("| ohm a segment | trained | mean, % | worst chip, % | training, s |\n|---:|---|---:|---:|---:|")
    measure(recipe, options)


if __name__ == "__main__":
    main()
