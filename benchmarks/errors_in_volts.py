"""Errors in volts: what they cost a trained network, what calibration gives back, where the optimum of the scales lies.

    python benchmarks/errors_in_volts.py summary FOLDER...        # of hrat compare, one folder for each training seed
    python benchmarks/errors_in_volts.py calibration RUN...       # folders of hrat train, or run-* of hrat compare
    python benchmarks/errors_in_volts.py scales RUN...
    python benchmarks/errors_in_volts.py floor RUN...
    python benchmarks/errors_in_volts.py first-scales             # trains FC-4 on 5,000 digits 12 times, minutes
    python benchmarks/errors_in_volts.py offset-in-spice          # trains a small network on 5,000 digits, minutes

Tables in Markdown on standard output.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import torch
from torch import nn

import hrat
from hrat.artifacts import Deployment, ProgrammedChip
from hrat.experiments.recipes import METHODS, build_network, load_recipe, trainable
from hrat.experiments.running import load_run
from hrat.nn import Scale
from hrat.simulation import Amplifier, Spice, calibrate_chip
from hrat.training import load_data, make_loader

CHIPS = 20
FACTORS = (0.1, 0.25, 0.5, 0.71, 0.87, 1.0, 1.15, 1.41, 2.0, 4.0, 10.0)
EACH_ALONE = ("error", "offset", "noise", "gain", "mismatch", "read_noise")
T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262}
"""Quantile of Student's t for a two-sided interval of 95 %, by degrees of freedom."""


def percent(accuracies: Iterable[float]) -> str:
    """Mean of the chips / the worst chip."""
    values = [100 * value for value in accuracies]
    return f"{mean(values):.2f} / {min(values):.2f}"


def interval(differences: list[float]) -> str:
    """Mean of paired differences with a confidence interval of 95 %."""
    if len(differences) < 2:
        return f"{differences[0]:+.2f}"
    half = T_95.get(len(differences) - 1, 2.0) * stdev(differences) / math.sqrt(len(differences))
    return f"{mean(differences):+.2f} +- {half:.2f}"


def summary(folders: list[str]) -> None:
    """Methods over training seeds: mean and spread of the chips' means, worst chip, difference from HRAT."""
    of_seeds = [json.loads((Path(folder) / "comparison.json").read_text())["rows"] for folder in folders]
    means: dict[str, list[float]] = {}
    worst: dict[str, list[float]] = {}
    labels: dict[str, str] = {}
    for rows in of_seeds:
        for row in rows:
            chips = [100 * value for value in row["accuracies"]] or [100 * row["software"]]
            means.setdefault(row["method"], []).append(mean(chips))
            worst.setdefault(row["method"], []).append(min(chips))
            labels[row["method"]] = row["label"]
    print("| method | mean of 20 chips | worst chip of all | HRAT is ahead by |\n|---|---:|---:|---:|")
    for method, label in labels.items():
        spread = f" +- {stdev(means[method]):.2f}" if len(means[method]) > 1 else ""
        ahead = "" if method == "hrat" else interval([a - b for a, b in zip(means["hrat"], means[method], strict=True)])
        low = "-" if method == "float" else f"{min(worst[method]):.2f}"
        print(f"| {label} | {mean(means[method]):.2f}{spread} | {low} | {ahead} |")
    print(f"\n{len(of_seeds)} training seeds; +-: standard deviation over seeds, and of differences the 95 % interval.")


def deployments(runs: list[str]) -> Iterable[tuple[str, Deployment, Callable[[ProgrammedChip], str]]]:
    """Each run as a deployment, with a function that measures chips of it."""
    for path in runs:
        run = load_run(path)
        data = load_data(run.recipe.data)

        def measured(chips: ProgrammedChip, test: object = make_loader(data.test, 2000)) -> str:
            return percent(hrat.simulate(chips, test, keep_outputs=False).accuracies or ())

        yield f"{run.recipe.network}, {run.method}, seed {run.seed}", hrat.deploy(run.model.eval()), measured


def calibration(runs: list[str]) -> None:
    """Accuracy with all errors, without each, and after the bias DACs were trimmed by 32 known inputs."""
    print(f"| run | all errors | bias DACs trimmed | {' | '.join(f'without {name}' for name in EACH_ALONE)} |")
    print("|---|" + "---:|" * (2 + len(EACH_ALONE)))
    for name, deployment, measured in deployments(runs):
        chips = hrat.program(deployment, chips=CHIPS)
        cells = [measured(chips), measured(calibrate_chip(chips).chip)]
        for error in EACH_ALONE:
            without = replace(deployment, spec=deployment.spec.without(error))
            cells.append(measured(hrat.program(without, chips=CHIPS)))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def floor(runs: list[str]) -> None:
    """Accuracy on chips whose ReLU reaches 0 V, and whose amplifiers have no offset besides; nothing trained anew."""
    print("| run | all errors | without floor | without floor and offset |\n|---|---:|---:|---:|")
    for name, deployment, measured in deployments(runs):
        cells = []
        for off in ((), ("floor",), ("floor", "offset")):
            chips = hrat.program(replace(deployment, spec=deployment.spec.without(*off)), chips=CHIPS)
            cells.append(measured(chips))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def first_scales() -> None:
    """FC-4 on 5,000 digits from scales that are right, ten times too large or small, calibrated first or not."""
    recipe, data = load_recipe("fc4-mnist5k"), load_data("mnist5k")
    spec = hrat.load_spec("generic-4bit+on-chip", bias_full_scale="layer")
    print("| first scales | as given | calibrated by the first batch |\n|---|---:|---:|")
    for factor in (1.0, 10.0, 0.1):
        cells = []
        for first in ("as_given", "calibrated"):
            means = []
            for seed in (0, 1, 2):
                torch.manual_seed(seed)
                model = trainable(METHODS["hrat"], build_network("fc4"), recipe, spec, data.train)
                for module in model.modules():
                    if isinstance(module, Scale):
                        module.set(module.log_alpha.exp() * factor)
                loader = make_loader(data.train, recipe.batch_size, shuffle=True, seed=seed, drop_last=True)
                options = recipe.fit.replace(epochs=15, first_scales=first)
                hrat.fit(model, loader, options=options, progress=False)
                chips = hrat.program(hrat.deploy(model.eval()), chips=10)
                result = hrat.simulate(chips, make_loader(data.test, 1000), keep_outputs=False)
                means.append(100 * mean(result.accuracies or ()))
            cells.append(f"{mean(means):.2f} +- {stdev(means):.2f}")
        print(f"| x {factor:g} | {' | '.join(cells)} |", flush=True)


def scales(runs: list[str]) -> None:
    """Accuracy over a factor on all learned scales, after training: 1 is the point that was learned."""
    print(f"| run | {' | '.join(f'x {factor:g}' for factor in FACTORS)} |")
    print("|---|" + "---:|" * len(FACTORS))
    for path in runs:
        run = load_run(path)
        model, test = run.model.eval(), make_loader(load_data(run.recipe.data).test, 2000)
        learned = {m: m.log_alpha.detach().clone() for m in model.modules() if isinstance(m, Scale)}
        cells = []
        for factor in FACTORS:
            for module, log_alpha in learned.items():
                module.set((log_alpha + math.log(factor)).exp())
            chips = hrat.program(hrat.deploy(model), chips=CHIPS)
            cells.append(percent(hrat.simulate(chips, test, keep_outputs=False).accuracies or ()))
        print(f"| {run.recipe.network}, {run.method} | {' | '.join(cells)} |", flush=True)


def offset_in_spice() -> None:
    """A small network on chips with offsets, each amplifier in ngspice: trained without them, and with them."""
    data = load_data("mnist5k")
    images = 100
    test = make_loader(data.test, 100)
    print("| trained with | offset on the chip | formula, all images | ngspice, 100 images | formula, the same 100 |")
    print("|---|---:|---:|---:|---:|")
    for trained_V in (0.0, 2e-3):
        torch.manual_seed(0)
        spec = hrat.load_spec("generic-4bit").replace({"periphery.amplifier_offset_V": trained_V})
        network = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
        train = make_loader(data.train, 100, shuffle=True, seed=0)
        model = hrat.prepare(network, spec, next(iter(train))[0], batch_norm="two_pass")
        hrat.fit(model, train, epochs=20, lr=5e-3, progress=False)
        deployment = hrat.deploy(model)
        for offset_V in (0.0, 2e-3, 5e-3):
            own = replace(deployment, spec=spec.replace({"periphery.amplifier_offset_V": offset_V}))
            chips = hrat.program(own, chips=CHIPS)
            whole = hrat.simulate(chips, test, keep_outputs=False).accuracies or ()
            few = hrat.simulate(chips, test, limit=images, keep_outputs=False).accuracies or ()
            spice = Spice(amplifier=Amplifier(gain=None))
            circuit = hrat.simulate(chips, test, limit=images, solver=spice, keep_outputs=False).accuracies or ()
            words = "no offset" if trained_V == 0 else f"{trained_V * 1e3:g} mV"
            print(
                f"| {words} | {offset_V * 1e3:g} mV | {percent(whole)} | {percent(circuit)} | {percent(few)} |",
                flush=True,
            )


OF_RUNS = {"summary": summary, "calibration": calibration, "floor": floor, "scales": scales}
ALONE = {"first-scales": first_scales, "offset-in-spice": offset_in_spice}


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*OF_RUNS, *ALONE])
    parser.add_argument("folders", nargs="*")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.part in ALONE:
        ALONE[given.part]()
    else:
        OF_RUNS[given.part](given.folders)


if __name__ == "__main__":
    main()
