"""Choosing levels: what each choice brings to LeNet-5 on full MNIST, mean and worst of 20 chips.

    python benchmarks/levels.py levels states pairs faults redundancy

Devices are programmed pulse by pulse (write-verify), each chip by its own seed; training draws from the table that the
same scheme leaves on virtual devices. Choices are made from the spec, from a chip's own stuck devices, or from training
images; test images only yield the figures. Results go to levels.json in the output folder; the tables are printed.
Networks are kept in the folder of the runs, and not trained again.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timing import machine

import hrat
from hrat.artifacts import Deployment
from hrat.experiments import build_network
from hrat.files import write_atomic
from hrat.mapping import choose_redundancy, favour_states, remap, replicate
from hrat.physics import place_levels
from hrat.programming import find_faults
from hrat.spec import HardwareSpec
from hrat.training import load_data, load_weights, make_loader
from hrat.training.checkpoint import save_weights

CHIPS = 20
EPOCHS, BATCH, LR, SEED = 5, 250, 6e-3, 0
TABLE_TARGETS, TABLE_DEVICES = 33, 20_000

DEVICES: dict[str, dict[str, Any]] = {
    # preset and what is changed: few states, and an error that differs from state to state
    "wan2022, a day": {"base": "wan2022", "weight_bits": 3, "limit_retention": True},
    "yao2020, 20 pulses": {"base": "yao2020", "weight_bits": 3, "max_pulses": 20},
    "ibm-pcm, a day": {"base": "ibm-pcm", "weight_bits": 3, "limit_retention": True},
}
SHOWN = 3
"""The chip whose mapping is told."""
STUCK = ((0.001, 0.001), (0.0175, 0.0904), (0.1, 0.1))
"""Shares of devices stuck off and on, three that are in use in publications."""


def device(name: str) -> HardwareSpec:
    """The device with the table of its own write-verify programming."""
    changes = dict(DEVICES[name])
    return characterised(hrat.load_spec(changes.pop("base"), scheme="write_verify", **changes))


def characterised(spec: HardwareSpec) -> HardwareSpec:
    device = spec.device
    targets_S = torch.linspace(device.g_min_S, device.g_max_S, TABLE_TARGETS, dtype=torch.float64).tolist()
    return hrat.characterise(spec, devices=TABLE_DEVICES, seed=SEED, targets_S=targets_S).spec


class Bench:
    """Data, trained networks, and the figures found so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.data = load_data("mnist")
        self.results = options.out / "levels.json"
        self.rows: list[dict[str, Any]] = json.loads(self.results.read_text()) if self.results.exists() else []

    def train_loader(self, batch: int = BATCH, **how: Any) -> Any:
        return make_loader(self.data.train, batch, **how)

    def trained(self, spec: HardwareSpec) -> hrat.PreparedModel:
        """LeNet-5, trained for the hardware."""
        identity = json.dumps([spec.to_dict(), self.options.epochs, BATCH, LR, SEED], sort_keys=True)
        path = self.options.runs / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.pt"
        torch.manual_seed(SEED)
        loader = self.train_loader(shuffle=True, seed=SEED, drop_last=True)
        model = hrat.prepare(build_network("lenet5"), spec, next(iter(self.train_loader()))[0])
        if path.exists():
            load_weights(model, path)
        else:
            start = time.perf_counter()
            hrat.fit(model, loader, epochs=self.options.epochs, lr=LR, progress=False)
            save_weights(path, model)
            print(f"trained in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        return model.eval()

    def same_for_all(self, spec: HardwareSpec) -> Callable[[int], Deployment]:
        """The network trained for the hardware, mapped as it is."""
        deployment = hrat.deploy(self.trained(spec))
        return lambda _: deployment

    def measure(
        self,
        part: str,
        device: str,
        choice: str,
        deployments_of: Callable[[], Callable[[int], Deployment]],
        **more: Any,
    ) -> None:
        """Accuracy of the chips, each made from the deployment that is chosen for its seed."""
        if self.options.only not in (None, f"{device} | {choice}"):
            return
        start = time.perf_counter()
        seeds: Iterable[int] = range(self.options.chips)
        deployment_of = deployments_of()
        deployments = [deployment_of(seed) for seed in seeds]
        loader = make_loader(self.data.test, 500)
        accuracies = [
            hrat.simulate(hrat.program(one, seeds=[seed]), loader, keep_outputs=False, limit=self.options.limit).mean
            for seed, one in zip(seeds, deployments, strict=True)
        ]
        row = {
            "part": part,
            "device": device,
            "choice": choice,
            "mean": sum(accuracies) / len(accuracies),
            "worst": min(accuracies),
            "accuracies": accuracies,
            "devices": max(one.n_devices for one in deployments),
            "epochs": self.options.epochs,
            "images": self.options.limit or len(self.data.test),
            "seconds": time.perf_counter() - start,
            "machine": machine(),
            **more,
        }
        key = ("part", "device", "choice", "epochs", "images")
        if self.results.exists():  # another process may have added to it
            self.rows = json.loads(self.results.read_text())
        self.rows = [r for r in self.rows if any(r.get(k) != row[k] for k in key)] + [row]
        write_atomic(self.results, json.dumps(self.rows, indent=1) + "\n")
        print(f"{part} | {device} | {choice} | {row['mean']:.2%} / {row['worst']:.2%}", file=sys.stderr, flush=True)


# ---- the parts -------------------------------------------------------------------------------------------------------


def levels(bench: Bench) -> None:
    """States evenly spaced, or placed; programming that aims at the target, or at what ends there on average."""
    for name in DEVICES:
        even = device(name)
        n = even.device.n_states
        assert n is not None
        placed = even.replace({"device.levels_S": place_levels(even.device, even.programming, n)})
        choices = {
            "even": even,
            "even, aim = mean": even.replace({"programming.aim": "mean"}),
            "placed": placed,
            "placed, aim = mean": placed.replace({"programming.aim": "mean"}),
        }
        for choice, spec in choices.items():
            bench.measure("levels", name, choice, lambda s=spec: bench.same_for_all(s), levels_S=spec.device.states_S)


def states(bench: Bench) -> None:
    """Pairs of states of equal difference: with one partner at rest, or where the device programs best."""
    for name in DEVICES:
        spec = device(name)

        def favoured(spec: HardwareSpec = spec) -> Callable[[int], Deployment]:
            deployment, report = favour_states(hrat.deploy(bench.trained(spec)))
            print(report, file=sys.stderr)
            return lambda _: deployment

        bench.measure("states", name, "one partner at rest", lambda s=spec: bench.same_for_all(s))
        bench.measure("states", name, "favoured states", favoured)


def pairs(bench: Bench) -> None:
    """One-sided and centred pairs, of networks that were trained with one-sided ones."""
    for name in ("wan2022, a day", "ibm-pcm, a day"):
        for choice in ("one_sided", "centred"):

            def mapped(name: str = name, choice: str = choice) -> Callable[[int], Deployment]:
                spec = device(name)
                other = spec.replace({"device.pairs": choice})
                model = hrat.prepare(build_network("lenet5"), other, next(iter(bench.train_loader()))[0])
                model.load_state_dict(bench.trained(spec).state_dict())
                deployment = hrat.deploy(model.eval())
                return lambda _: deployment

            bench.measure("pairs", name, choice, mapped)


def faults(bench: Bench) -> None:
    """Stuck devices that nobody knows of, and that are made up for; training knew of none."""
    spec = device("wan2022, a day")
    for off, on in STUCK:
        broken = spec.replace({"faults.stuck_off": off, "faults.stuck_on": on, "faults.limit_faults": True})
        name = f"wan2022, a day; {100 * off:g} % stuck off, {100 * on:g} % on"

        def plain(broken: HardwareSpec = broken) -> Deployment:
            return replace(hrat.deploy(bench.trained(spec)), spec=broken)

        def as_it_is(plain: Callable[[], Deployment] = plain) -> Callable[[int], Deployment]:
            deployment = plain()
            return lambda _: deployment

        def mapped(assign: bool, plain: Callable[[], Deployment] = plain) -> Callable[[int], Deployment]:
            deployment = plain()

            def for_chip(seed: int) -> Deployment:
                remapped, report = remap(deployment, find_faults(deployment, seed), assign=assign)
                if seed == SHOWN:
                    print(f"chip {seed}\n{report}", file=sys.stderr, flush=True)
                return remapped

            return for_chip

        bench.measure("faults", name, "not known", as_it_is)
        bench.measure("faults", name, "partners", partial(mapped, assign=False))
        bench.measure("faults", name, "partners and lines", partial(mapped, assign=True))


def redundancy(bench: Bench) -> None:
    """Extra devices where they pay, and everywhere."""
    name = "wan2022, a day"
    spec = device(name)

    def chosen(extra: int) -> Callable[[int], Deployment]:
        model = bench.trained(spec)
        plan = choose_redundancy(model, bench.train_loader(500), extra_devices=extra)
        print(plan, file=sys.stderr)
        deployment = replicate(hrat.deploy(model), plan.copies)
        return lambda _: deployment

    def everywhere(copies: int) -> Callable[[int], Deployment]:
        deployment = hrat.deploy(bench.trained(spec))
        deployment = replicate(deployment, dict.fromkeys(deployment.layers, copies))
        return lambda _: deployment

    bench.measure("redundancy", name, "one pair for each weight", lambda: bench.same_for_all(spec))
    for extra in (1_000, 5_000, 20_000):
        bench.measure("redundancy", name, f"{extra:,} extra, by sensitivity", partial(chosen, extra))
    bench.measure("redundancy", name, "two pairs for each weight", partial(everywhere, 2))


PARTS = {"levels": levels, "states": states, "pairs": pairs, "faults": faults, "redundancy": redundancy}


def table(rows: list[dict[str, Any]], part: str) -> str:
    lines = ["| device | choice | memristors | mean | worst chip |", "|---|---|---:|---:|---:|"]
    for row in rows:
        if row["part"] == part:
            lines.append(
                f"| {row['device']} | {row['choice']} | {row['devices']:,} | {100 * row['mean']:.2f} | "
                f"{100 * row['worst']:.2f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=list(PARTS))
    parser.add_argument("--only", help="one row: 'DEVICE | CHOICE'")
    parser.add_argument("--chips", type=int, default=CHIPS)
    parser.add_argument("--limit", type=int, help="test images; all unless given")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--runs", type=Path, default=Path("runs/levels"), help="folder of the trained networks")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "docs" / "experiments")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.runs.mkdir(parents=True, exist_ok=True)
    bench = Bench(options)
    for part in options.parts:
        PARTS[part](bench)
        print(f"\n{part}\n\n{table(bench.rows, part)}")


if __name__ == "__main__":
    main()
