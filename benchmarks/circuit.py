"""Whole networks on the circuit: the same test images by formula, by Kirchhoff's laws, and in SPICE.

    hrat train fc4-mnist -o fc4 && hrat deploy fc4 -o fc4.deployment
    hrat program fc4.deployment --chips 1 -o fc4.chips
    python benchmarks/circuit.py fc4.chips --data mnist --limit 1000
    python benchmarks/circuit.py fc4.chips --data mnist --limit 10000 --wires 1 --compensate --spice-limit 10

Results are added to circuit.json in the output folder; the table of all of them is printed.
"""

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timing import machine

import hrat
from hrat.files import write_atomic
from hrat.mapping import compensate
from hrat.physics import attenuated
from hrat.simulation import Amplifier, Nodal, Spice, simulate
from hrat.simulation.nodal import Wires, effective_conductance
from hrat.training import load_data
from hrat.training.data import make_loader

BATCH = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chips", type=Path)
    parser.add_argument("--name", help="of the network; the file's name unless given")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--limit", type=int, default=1000, help="test images")
    parser.add_argument("--spice-limit", type=int, help="test images in SPICE; as --limit unless given")
    parser.add_argument("--wires", type=float, help="ohm for each segment; ideal unless given")
    parser.add_argument(
        "--compensate",
        nargs="?",
        const="exact",
        choices=["exact", "approximate"],
        help="change the targets so as to make up for the wires, by the nodal solver or by training's approximation",
    )
    parser.add_argument("--count", type=int, default=1, help="chips; classes are compared on the first")
    parser.add_argument("--solvers", nargs="+", default=["behavioural", "nodal", "spice"])
    parser.add_argument("--opamp-gain", type=float, default=1e5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "docs" / "experiments")
    options = parser.parse_args()
    chip = hrat.ProgrammedChip.load(options.chips)[0]
    if options.wires is not None:
        chip = chip.with_array(limit_wires=True, r_word_ohm=options.wires, r_bit_ohm=options.wires)
    if options.compensate:
        exact = partial(_exact, like=torch.get_default_dtype())
        effective = exact if options.compensate == "exact" else attenuated
        deployment, report = compensate(chip.deployment, effective=effective)
        print(report, file=sys.stderr)
        chip = hrat.program(deployment, chips=options.count)
    elif options.count > 1:
        chip = hrat.program(chip.deployment, chips=options.count)
    images = load_data(options.data).test
    methods = {
        "behavioural": "behavioural",
        "nodal": Nodal(),
        "spice": Spice(amplifier=Amplifier(gain=options.opamp_gain)),
    }
    results = options.out / "circuit.json"
    rows: list[dict[str, Any]] = json.loads(results.read_text()) if results.exists() else []
    classes: dict[str, torch.Tensor] = {}
    for solver in options.solvers:
        limit = (options.spice_limit if solver == "spice" else None) or options.limit
        start = time.perf_counter()
        found = simulate(chip, make_loader(images, BATCH), solver=methods[solver], limit=limit)
        classes[solver] = found.value[0].argmax(dim=1)
        row = {
            "network": options.name or options.chips.stem,
            "wires_ohm": options.wires,
            "solver": solver,
            "opamp_gain": options.opamp_gain if solver == "spice" else None,
            "images": found.n_images,
            "accuracy": found.mean,
            "worst": found.worst,
            "chips": chip.n_chips,
            "compensated": options.compensate or False,
            "seconds": time.perf_counter() - start,
            "same_class_as": {
                other: float((classes[other][:limit] == classes[solver]).double().mean())
                for other in classes
                if other != solver and len(classes[other]) >= found.n_images
            },
            "accuracy_of_the_others": {
                other: _accuracy(images, classes[other][:limit]) for other in classes if other != solver
            },
            "statistics": found.statistics,
            "command": "python benchmarks/circuit.py " + " ".join(sys.argv[1:]),
            "machine": machine(),
        }
        rows = [r for r in rows if _key(r) != _key(row)] + [row]
        write_atomic(results, json.dumps(rows, indent=1) + "\n")  # each as soon as it is there
        print(f"{solver}: {found}", file=sys.stderr, flush=True)
    print(table(rows))


def _exact(g_S: torch.Tensor, array: hrat.Array, like: torch.dtype) -> torch.Tensor:
    return effective_conductance(g_S, Wires.of(array)).to(like)


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(k) for k in ("network", "wires_ohm", "compensated", "chips", "solver", "opamp_gain", "images"))


def _accuracy(images: Any, classes: torch.Tensor) -> float:
    labels = torch.tensor([int(images[k][1]) for k in range(len(classes))])
    return float((labels == classes).double().mean())


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| network | wires | depth | images | accuracy | same class as behavioural | as nodal | time |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in sorted(rows, key=lambda r: (r["network"], r["wires_ohm"] or 0, r["images"])):
        wires = "ideal" if row["wires_ohm"] is None else f"{row['wires_ohm']:g} ohm"
        wires += ", compensated" if row.get("compensated") else ""
        same = [row["same_class_as"].get(other) for other in ("behavioural", "nodal")]
        cells = ["" if share is None else f"{100 * share:.2f} %" for share in same]
        lines.append(
            f"| {row['network']} | {wires} | {row['solver']} | {row['images']:,} | {100 * row['accuracy']:.2f} % | "
            f"{cells[0]} | {cells[1]} | {row['seconds']:.1f} s |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
