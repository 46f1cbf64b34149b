"""Does a cheaper form of batch norm lose accuracy? Every form, with and without freezing, several seeds.

python benchmarks/batch_norm_forms.py [--data mnist5k] [--seeds 3] [--epochs 15]
"""

import argparse
import statistics
from pathlib import Path

import torch
from timing import machine

import hrat
from hrat.files import write_atomic
from hrat.recipes import build_network
from hrat.training import fit, load_data, make_loader

SPEC, CHIPS, VAL = "generic-3bit-harsh", 20, 800


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist5k")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--networks", nargs="+", default=["fc4", "lenet5"])
    parser.add_argument("--out", type=Path, default=Path("docs/experiments/batch-norm-forms.md"))
    options = parser.parse_args()
    # Images held out of the training set, not the test images: forms are chosen by these figures.
    data = load_data(options.data, val_size=VAL)
    rows = []
    for network in options.networks:
        for freeze in (0.2, 0.0):
            for form in ("two_pass", "slice", "one_pass"):
                means, worsts, seconds = [], [], []
                for seed in range(options.seeds):
                    torch.manual_seed(seed)
                    example = data.train[list(range(256))][0]
                    model = hrat.prepare(build_network(network), SPEC, example, batch_norm=form)
                    loader = make_loader(data.train, 128, shuffle=True, seed=seed, drop_last=True)
                    run = fit(model, loader, epochs=options.epochs, lr=6e-3, freeze=freeze, progress=False)
                    chips = hrat.program(hrat.deploy(model), chips=CHIPS)
                    result = hrat.simulate(chips, make_loader(data.val, 400))
                    means.append(100 * result.mean)
                    worsts.append(100 * result.worst)
                    seconds.append(run.seconds)
                spread = statistics.stdev(means) if len(means) > 1 else 0.0
                rows.append(
                    f"| {network} | {form} | {'last fifth' if freeze else 'never'} | {statistics.mean(means):.2f} +- "
                    f"{spread:.2f} | {min(worsts):.2f} | {statistics.median(seconds):.0f} |"
                )
                print(rows[-1], flush=True)
    lines = [
        "# Forms of batch norm",
        "",
        "Batch norm is fused in every training step. The statistics that it needs come from the undistorted operation",
        "on the whole batch (`two_pass`, the reference, which costs the operation twice), on an eighth of the batch",
        "(`slice`), or from the distorted outputs (`one_pass`).",
        "",
        f"Hardware `{SPEC}`, {CHIPS} chips for each of {options.seeds} seeds, {options.epochs} epochs on "
        f"{options.data} less {VAL} held-out images, on which the accuracies in per cent are measured.",
        f"Command: `python benchmarks/batch_norm_forms.py --data {options.data} --seeds {options.seeds} --epochs "
        f"{options.epochs}`. Machine: {machine()}.",
        "",
        "| network | form | frozen | mean of chips, over seeds | worst chip of all | training, s |",
        "|---|---|---|---:|---:|---:|",
        *rows,
        "",
    ]
    write_atomic(options.out, "\n".join(lines))


if __name__ == "__main__":
    main()
