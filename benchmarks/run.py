"""Everything that docs/benchmarks shows, side by side in one run: training, simulation, growth, profile, peers.

    python benchmarks/run.py                               # all of it: about half an hour on two cores
    python benchmarks/run.py --only training simulation    # these parts; the others stay as they were
    python benchmarks/run.py --only peers --turns 9        # the peers, each in an environment of its own

Figures go to results.json in the output folder, part by part; tables and pictures are made from it.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from page import write_page
from parts import PARTS, SPEC
from timing import machine

from hrat.files import write_atomic

HERE = Path(__file__).parent


def peers(turns: int) -> list[dict[str, Any]]:
    """hrat and the others, each in its own environment under .bench/."""
    sys.path.insert(0, str(HERE / "peers"))
    from drive import measure

    folder = HERE.parent / ".bench"
    return measure(["fc4", "lenet5", "vgg16", "tile64", "tile128"], max(5, turns // 3), folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {**PARTS, "peers": peers}
    parser.add_argument("--turns", type=int, default=30, help="how often each candidate takes its turn")
    parser.add_argument("--only", nargs="+", choices=list(parts), default=list(parts), help="parts to measure anew")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "benchmarks")
    options = parser.parse_args()
    results_file = options.out / "results.json"
    results: dict[str, Any] = json.loads(results_file.read_text()) if results_file.exists() else {}
    for part in options.only:
        print(f"{part} ...", file=sys.stderr, flush=True)
        start = time.perf_counter()
        rows = parts[part](options.turns)
        results[part] = {
            "command": f"python benchmarks/run.py --only {part} --turns {options.turns}",
            "machine": machine(),
            "spec": SPEC,
            "seconds": round(time.perf_counter() - start),
            "rows": rows,
        }
        options.out.mkdir(parents=True, exist_ok=True)
        # Part by part: what was measured survives what comes after it.
        write_atomic(results_file, json.dumps(results, indent=1) + "\n")
        write_page(results, options.out)
    print(options.out / "summary.md")


if __name__ == "__main__":
    main()
