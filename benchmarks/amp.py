"""Accuracy of chips after training in bfloat16 (autocast), beside training in single precision.

python benchmarks/amp.py                          # LeNet-5 on 5,000 digits, on a CPU: minutes
python benchmarks/amp.py vgg16-cifar10:10 --device cuda
"""

import argparse
import dataclasses
import statistics
import tempfile
from pathlib import Path

from experiment import experiment
from timing import machine

import hrat
from hrat.experiments import Recipe, train
from hrat.training import load_data, make_loader


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", type=experiment, default="lenet5-mnist5k:8", metavar="RECIPE[:EPOCHS]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of training")
    parser.add_argument("--chips", type=int, default=20, help="chips for each network")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    recipe: Recipe = options.recipe
    data = load_data(recipe.data)
    print(f"Recipe `{recipe.name}`, {recipe.fit.epochs} epochs, on {options.device}; {options.chips} chips a network; ")
    print(f"training seeds {options.seeds}. Machine: {machine()}.\n")
    print("| computed in | mean, % | worst chip, % | means by seed, % |")
    print("|---|---:|---:|---|")
    for amp in (False, True):
        chosen = dataclasses.replace(recipe, fit=recipe.fit.replace(amp=amp))
        found = []
        for seed in options.seeds:
            with tempfile.TemporaryDirectory() as folder:
                run = train(chosen, Path(folder), seed=seed, data=data, device=options.device, progress=False)
            chips = hrat.program(hrat.deploy(run.model), chips=options.chips, seed=1)
            found.append(hrat.simulate(chips, make_loader(data.test, 500)).accuracies or ())
        means = [100 * statistics.mean(accuracies) for accuracies in found]
        worst = 100 * min(min(accuracies) for accuracies in found)
        each = ", ".join(f"{mean:.2f}" for mean in means)
        print(
            f"| {'bfloat16' if amp else 'float32'} | {statistics.mean(means):.2f} | {worst:.2f} | {each} |", flush=True
        )


if __name__ == "__main__":
    main()
