"""Accuracy of pulse-programmed chips over the budget of pulses, with and without the table in training.

    python benchmarks/pulse_budget.py                                      # LeNet-5 on full MNIST, an hour or more
    python benchmarks/pulse_budget.py lenet5-mnist5k:6 --budgets 20 500    # minutes

For each budget the device is characterised: many virtual devices are programmed to each state. One network is trained
with the table of what they reach, one with a Gaussian of the same mean square error for all states, and one with the
Gaussian of the spec, whatever the budget. All are programmed pulse by pulse within the budget, by the same scheme, and
tested on the same images.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import torch
from experiment import experiment
from timing import machine

import hrat
from hrat.artifacts import Characterisation
from hrat.experiments import Recipe, train
from hrat.spec import HardwareSpec
from hrat.training import DataSplits, load_data, make_loader

BUDGETS = (5, 20, 50, 500)
MODELS = ("table", "same variance", "the spec's Gaussian")


def measure(recipe: Recipe, spec: HardwareSpec, seed: int, budget: int, data: DataSplits, chips: int) -> list[float]:
    """Accuracies of pulse-programmed chips of a network that was trained with `spec`."""
    with tempfile.TemporaryDirectory() as folder:
        run = train(recipe, Path(folder), spec=spec, seed=seed, data=data, progress=False)
    programmed = hrat.program(hrat.deploy(run.model), chips=chips, max_pulses=budget)
    return list(hrat.simulate(programmed, make_loader(data.test, 500)).accuracies or ())


def hardware(name: str, spec: HardwareSpec, table: Characterisation) -> HardwareSpec:
    """What a network is trained for, by the name of its column."""
    return {"table": table.spec, "same variance": table.gaussian_spec(), "the spec's Gaussian": spec}[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", type=experiment, default="lenet5-mnist:8", metavar="RECIPE[:EPOCHS]")
    parser.add_argument("--spec", default="yao2020", help="the hardware")
    parser.add_argument("--budgets", type=int, nargs="+", default=BUDGETS, help="pulses for a device at most")
    parser.add_argument("--start", default="lowest", help="where devices are at first: lowest, highest or random")
    parser.add_argument("--with", dest="models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of training")
    parser.add_argument("--chips", type=int, default=20, help="chips for each network")
    options = parser.parse_args()
    recipe: Recipe = options.recipe
    spec = hrat.load_spec(options.spec, scheme="write_verify", start=options.start)
    data = load_data(recipe.data)
    print(f"Recipe `{recipe.name}`, {recipe.fit.epochs} epochs; hardware `{spec.name}`, start {options.start}; ")
    print(f"{options.chips} chips for each network; training seeds {options.seeds}. Machine: {machine()}.\n")
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        float_run = train(recipe, Path(folder), method="float", spec=spec, data=data, progress=False)
    print(f"In floating point: {100 * float_run.accuracy_without_error:.2f} %\n", flush=True)
    print("| pulses at most | rms error | trained with | mean, % | worst chip, % |\n|---:|---:|---|---:|---:|")
    for budget in options.budgets:
        table = hrat.characterise(spec, max_pulses=budget)
        for name in options.models:
            figures = [
                accuracy
                for seed in options.seeds
                for accuracy in measure(recipe, hardware(name, spec, table), seed, budget, data, options.chips)
            ]
            mean, worst = 100 * statistics.mean(figures), 100 * min(figures)
            print(f"| {budget} | {table.rms_rel:.1%} | {name} | {mean:.2f} | {worst:.2f} |", flush=True)


if __name__ == "__main__":
    main()
