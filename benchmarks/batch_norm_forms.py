"""Does a cheaper form of batch norm lose accuracy? Every form on the same networks, data, seeds and chips.

    python benchmarks/batch_norm_forms.py --jobs 2
    python benchmarks/batch_norm_forms.py fc4-mnist5k:15 lenet5-mnist5k:15          # no full data sets needed

Each run, one form with one seed, has a folder of its own in --runs. What is finished there is not done again, and what
was stopped goes on, so after a stop the same command goes on. Take a new folder after a change of the code.
"""

import argparse
import json
import os
import shlex
import statistics
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache
from multiprocessing import get_context, parent_process
from pathlib import Path

# Before torch is imported, in this process and so in those that it starts.
os.environ["OMP_NUM_THREADS"] = "1"

import torch
from timing import machine

import hrat
from hrat.experiments import load_recipe, train
from hrat.files import write_atomic
from hrat.training import DataSplits, load_data, make_loader

# In four epochs VGG-16 gets to 58 per cent on the harsh device, to 68 on the other: nearer to what full training does.
RECIPES = ["fc4-mnist:10:generic-3bit-harsh", "lenet5-mnist:5:generic-3bit-harsh", "vgg16-cifar10-short:4:generic-4bit"]
FORMS = {
    "float": "no chip, no restrictions",
    "two_pass": "the undistorted operation, whole batch",
    "slice": "the same, an eighth of the batch",
    "one_pass": "the distorted outputs",
}
REFERENCE = "two_pass"
CHIPS = 20
SEEDS = 3


@dataclass(frozen=True, kw_only=True)
class Work:
    """One run: a network on its data, a form (or plain training, for "float") and a seed."""

    recipe: str
    epochs: int
    spec: str
    form: str
    seed: int

    def folder(self, runs: Path) -> Path:
        return runs / f"{self.recipe}-{self.epochs}-{self.spec}" / f"{self.form}-{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a run came to: shares of the held-out images, one for each chip ("float": one, in floating point)."""

    accuracies: list[float]
    seconds: float
    held_out: int
    train_images: int

    @property
    def mean(self) -> float:
        return 100 * statistics.mean(self.accuracies)

    @property
    def worst(self) -> float:
        return 100 * min(self.accuracies)


@cache
def images(name: str) -> DataSplits:
    """The data with a part of its training images in place of the test images: forms are chosen by these figures."""
    data = load_data(name, val_size=800 if name == "mnist5k" else 5000)
    assert data.val is not None
    return replace(data, test=data.val)


def measure(work: Work, runs: Path) -> Figures:
    """Do a run, or what is left of it, or read what came out of it."""
    folder = work.folder(runs)
    recipe = load_recipe(work.recipe)
    recipe = replace(recipe, spec=work.spec, fit=recipe.fit.replace(epochs=work.epochs))
    if work.form != "float":
        recipe = replace(recipe, batch_norm=work.form)
    inputs = {"work": asdict(work), "recipe": recipe.to_dict(), "chips": CHIPS}
    result = folder / "result.json"
    if result.is_file():
        known = json.loads(result.read_text())
        if known["inputs"] == inputs:
            return Figures(**known["figures"])
    data = images(recipe.data)
    method = "plain" if work.form == "float" else "hrat"
    run = train(recipe, folder, method=method, seed=work.seed, data=data, progress=False)
    accuracies = [run.accuracy_without_error]
    if work.form != "float":
        chips = hrat.program(hrat.deploy(run.model), chips=CHIPS)
        accuracies = list(hrat.simulate(chips, make_loader(data.test, 500)).accuracies or ())
    figures = Figures(accuracies=accuracies, seconds=run.seconds, held_out=len(data.test), train_images=len(data.train))
    write_atomic(result, json.dumps({"inputs": inputs, "figures": asdict(figures), "machine": machine()}, indent=2))
    return figures


def start_worker() -> None:
    """One thread, and no life of its own after the process that started this one was killed."""
    torch.set_num_threads(1)
    parent = parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def measure_all(works: list[Work], runs: Path, jobs: int) -> dict[Work, Figures]:
    """All runs, several at a time."""
    figures: dict[Work, Figures] = {}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=start_worker) as pool:
        futures = {pool.submit(measure, work, runs): work for work in works}
        try:
            for future in as_completed(futures):
                work, got = futures[future], future.result()
                figures[work] = got
                run = f"{len(figures)}/{len(works)}: {work.recipe} {work.form} seed {work.seed}"
                print(f"{run}: mean {got.mean:.2f}, worst {got.worst:.2f}, {got.seconds:.0f} s", flush=True)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return figures


def over_seeds(values: list[float], sign: str = "") -> str:
    """Mean and standard deviation."""
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{sign}.2f}{deviation}"


def rows(figures: dict[Work, Figures]) -> Iterator[str]:
    """The table's lines for the runs of one network: one for each form."""
    seeds = sorted({work.seed for work in figures})
    forms = {
        form: [got for seed in seeds for work, got in figures.items() if (work.form, work.seed) == (form, seed)]
        for form in FORMS
        if any(work.form == form for work in figures)
    }
    for form, runs in forms.items():
        worst, against, each = "-", "-", ", ".join(f"{run.mean:.2f}" for run in runs)
        if form != "float":
            worst = over_seeds([run.worst for run in runs])
            each = ", ".join(f"{run.mean:.2f} / {run.worst:.2f}" for run in runs)
        if form not in ("float", REFERENCE) and REFERENCE in forms:
            # Of one seed, both have the same first weights, order of images and chips: their difference has less chance
            # in it than the two means have.
            pairs = zip(runs, forms[REFERENCE], strict=True)
            against = over_seeds([run.mean - other.mean for run, other in pairs], sign="+")
        seconds = statistics.median(run.seconds for run in runs)
        yield (
            f"| {form} | {FORMS[form]} | {over_seeds([run.mean for run in runs])} | {worst} | {against} | {each} | "
            f"{seconds:.0f} |"
        )


def page(figures: dict[Work, Figures], options: argparse.Namespace) -> str:
    """The whole page, in Markdown."""
    lines = [
        "# Forms of batch norm",
        "",
        "Batch norm is fused in every training step. The statistics that it needs come from the undistorted operation",
        "on the whole batch (`two_pass`, the reference, which costs the operation twice), on an eighth of the batch",
        "(`slice`), or from the distorted outputs (`one_pass`).",
        "",
        f"{CHIPS} chips for each of the training seeds. Accuracies in per cent, on images held out of the",
        "training set; the test images are not used. Mean ± standard deviation over the seeds.",
        f"*Against {REFERENCE}*: the mean over the chips less that of the reference with the same seed.",
        "",
        f"Command: `{shlex.join(['python', *sys.argv])}`. Runs at a time: {options.jobs}, one thread each; the seconds",
        f"are those of training, the median of the seeds. Machine: {machine()}.",
    ]
    for wanted in options.experiments:
        name, epochs, spec, seeds = wanted
        of_one = {w: got for w, got in figures.items() if (w.recipe, w.epochs, w.spec) == (name, epochs, spec)}
        some = next(iter(of_one.values()))
        recipe = load_recipe(name)
        lines += [
            "",
            f"## {recipe.network} on {recipe.data}, {spec}",
            "",
            f"Recipe `{name}` with {epochs} epochs of {some.train_images} images, "
            f"{some.held_out} held out; {seeds} seeds.",
            "",
            f"| form | statistics from | mean | worst chip | against {REFERENCE} | each seed: mean / worst | s |",
            "|---|---|---:|---:|---:|---|---:|",
            *rows(of_one),
        ]
    return "\n".join([*lines, ""])


def experiment(text: str) -> tuple[str, int, str, int]:
    """`NAME[:EPOCHS[:SPEC[:SEEDS]]]`, with the recipe's own epochs and hardware where they are left out."""
    name, epochs, spec, seeds = [*text.split(":"), "", "", ""][:4]
    recipe = load_recipe(name)
    return name, int(epochs) if epochs else recipe.fit.epochs, spec or recipe.spec, int(seeds or SEEDS)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "experiments",
        nargs="*",
        metavar="RECIPE[:EPOCHS[:SPEC[:SEEDS]]]",
        type=experiment,
        default=[experiment(text) for text in RECIPES],
        help=f"what to train, on which hardware; {' '.join(RECIPES)} by default",
    )
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS), help="forms to train")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each a process with one thread")
    parser.add_argument("--runs", type=Path, default=Path("runs/batch-norm-forms"), help="folder of the runs")
    parser.add_argument("--out", type=Path, default=Path("docs/experiments/batch-norm-forms.md"), help="the page")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    works = [
        Work(recipe=name, epochs=epochs, spec=spec, form=form, seed=seed)
        for name, epochs, spec, seeds in reversed(options.experiments)  # the longest are last: so none idles at the end
        for seed in range(seeds)
        for form in options.forms
    ]
    figures = measure_all(works, options.runs, options.jobs)
    write_atomic(options.out, page(figures, options))
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
