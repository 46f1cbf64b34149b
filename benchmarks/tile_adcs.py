"""Accuracy over the bits of the ADCs between tiles, with full scales learned and fixed.

    python benchmarks/tile_adcs.py                                  # FC-4 on 5,000 digits: minutes
    python benchmarks/tile_adcs.py fc4-mnist:4 --bits 3 4 6         # on full MNIST

One network is trained for each number of bits, once with learned full scales and once with that of the spec, and one
whose tiles share amplifiers. Each is put on chips that differ in their programming errors, and tested on test images.
"""

import argparse
import tempfile
from pathlib import Path

from experiment import experiment
from timing import machine

import hrat
from hrat.experiments import Recipe, train
from hrat.spec import HardwareSpec
from hrat.training import DataSplits, load_data, make_loader


def measure(recipe: Recipe, spec: HardwareSpec, seed: int, data: DataSplits, chips: int) -> list[float]:
    """Accuracies of the chips of a network that was trained with `spec`."""
    with tempfile.TemporaryDirectory() as folder:
        run = train(recipe, Path(folder), spec=spec, seed=seed, data=data, progress=False)
    programmed = hrat.program(hrat.deploy(run.model), chips=chips, seed=1)
    return list(hrat.simulate(programmed, make_loader(data.test, 500)).accuracies or ())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", type=experiment, default="fc4-mnist5k:20", metavar="RECIPE[:EPOCHS]")
    parser.add_argument("--spec", default="generic-4bit", help="the hardware")
    parser.add_argument("--rows", type=int, default=64, help="word lines of a tile")
    parser.add_argument("--bits", type=int, nargs="+", default=[2, 3, 4, 5, 6, 8])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of training")
    parser.add_argument("--chips", type=int, default=20, help="chips for each network")
    options = parser.parse_args()
    recipe: Recipe = options.recipe
    base = hrat.load_spec(options.spec, rows=options.rows)
    data = load_data(recipe.data)
    print(f"Recipe `{recipe.name}`, {recipe.fit.epochs} epochs; hardware `{base.name}`, tiles of {options.rows} rows; ")
    print(f"{options.chips} chips for each network; training seeds {options.seeds}. Machine: {machine()}.\n")
    print("| partial sums | full scales | mean, % | worst chip, % |")
    print("|---|---|---:|---:|")
    kinds = [("currents", "", base)]
    for bits in options.bits:
        for learn in (True, False):
            spec = base.replace(partial_sums="adc", tile_adc_bits=bits, learn_tile_adc=learn)
            kinds.append((f"ADCs of {bits} bits", "learned" if learn else "fixed", spec))
    for name, scales, spec in kinds:
        found = [value for seed in options.seeds for value in measure(recipe, spec, seed, data, options.chips)]
        print(f"| {name} | {scales} | {sum(found) / len(found):.2%} | {min(found):.2%} |".replace("%", ""), flush=True)


if __name__ == "__main__":
    main()
