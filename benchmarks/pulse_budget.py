"""Accuracy of pulse-programmed chips over the budget of pulses, with and without the table in training.

    python benchmarks/pulse_budget.py                                      # LeNet-5 on full MNIST, an hour or more
    python benchmarks/pulse_budget.py lenet5-mnist5k:6 --budgets 20 500    # minutes

For each budget the device is characterised: many virtual devices are programmed to each state. One network is trained
with the table of what they reach, one with a Gaussian of the same mean square error for all states, and one with the
Gaussian of the spec, whatever the budget. All are programmed pulse by pulse within the budget, by the same scheme, and
tested on the same images.
"""

import argparse
import dataclasses
import statistics
import tempfile
from pathlib import Path

import torch
from timing import machine

import hrat
from hrat.recipes import Recipe, load_recipe, train
from hrat.spec import HardwareSpec
from hrat.training import DataSplits, load_data, make_loader

BUDGETS = (5, 20, 50, 500)


def measure(recipe: Recipe, spec: HardwareSpec, seed: int, budget: int, data: DataSplits, chips: int) -> list[float]:
    """Accuracies of pulse-programmed chips of a network that was trained with `spec`."""
    with tempfile.TemporaryDirectory() as folder:
        run = train(recipe, Path(folder), spec=spec, seed=seed, data=data, progress=False)
    programmed = hrat.program(hrat.deploy(run.model), chips=chips, scheme="write_verify", max_pulses=budget)
    return list(hrat.simulate(programmed, make_loader(data.test, 500)).accuracies or ())


def trained_with(name: str, spec: HardwareSpec, budget: int, set_start: str) -> HardwareSpec:
    table = hrat.characterise(spec.replace(start=set_start), scheme="write_verify", max_pulses=budget)
    if name == "table":
        return table.spec
    if name == "same variance":
        return table.gaussian_spec()
    return spec.replace({"programming.scheme": "write_verify", "programming.start": set_start})


def experiment(text: str) -> Recipe:
    """`NAME[:EPOCHS]`."""
    name, _, epochs = text.partition(":")
    recipe = load_recipe(name)
    return dataclasses.replace(recipe, fit=recipe.fit.replace(epochs=int(epochs))) if epochs else recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", type=experiment, default="lenet5-mnist:8", metavar="RECIPE[:EPOCHS]")
    parser.add_argument("--spec", default="yao2020", help="the hardware")
    parser.add_argument("--budgets", type=int, nargs="+", default=BUDGETS, help="pulses for a device at most")
    parser.add_argument("--start", default="lowest", help="where devices are at first: lowest, highest or random")
    parser.add_argument("--with", dest="models", nargs="+", default=["table", "same variance", "the spec's Gaussian"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of training")
    parser.add_argument("--chips", type=int, default=20, help="chips for each network")
    options = parser.parse_args()
    recipe: Recipe = options.recipe
    spec = hrat.load_spec(options.spec)
    data = load_data(recipe.data)
    print(f"Recipe `{recipe.name}`, {recipe.fit.epochs} epochs; hardware `{spec.name}`, start {options.start}; ")
    print(f"{options.chips} chips for each network; training seeds {options.seeds}. Machine: {machine()}.\n")
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        float_run = train(recipe, Path(folder), method="float", spec=spec, data=data, progress=False)
    print(f"In floating point: {100 * float_run.software:.2f} %\n", flush=True)
    print("| pulses at most | rms error | trained with | mean, % | worst chip, % |\n|---:|---:|---|---:|---:|")
    for budget in options.budgets:
        found = hrat.characterise(spec.replace(start=options.start), scheme="write_verify", max_pulses=budget)
        for name in options.models:
            hardware = trained_with(name, spec, budget, options.start)
            figures = [
                accuracy
                for seed in options.seeds
                for accuracy in measure(recipe, hardware, seed, budget, data, options.chips)
            ]
            mean, worst = 100 * statistics.mean(figures), 100 * min(figures)
            print(f"| {budget} | {found.rms_rel:.1%} | {name} | {mean:.2f} | {worst:.2f} |", flush=True)


if __name__ == "__main__":
    main()
