"""How far the standard errors of a fitted device can be trusted: synthetic sweeps of many seeds, each fitted.

python benchmarks/device_errors.py            # 40 seeds, a minute
python benchmarks/device_errors.py --devices 4
"""

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path

from hrat.measurements import example_truth, fit_device
from hrat.measurements.synthetic import sweep_csv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--devices", type=int, default=12)
    parser.add_argument("--cycles", type=int, default=4)
    parser.add_argument("--pulses", type=int, default=60, help="of each direction in a cycle")
    options = parser.parse_args()
    truth = example_truth()
    distances: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sweep.csv"
        for seed in range(options.seeds):
            sizes = {"devices": options.devices, "cycles": options.cycles, "pulses": options.pulses}
            path.write_text(sweep_csv(truth, seed=seed, **sizes))
            for part in fit_device(path, accept_poor=True).parameters:
                if isinstance(part.value, float) and part.error:
                    section, field = part.field.split(".")
                    distances[part.field].append((part.value - getattr(getattr(truth, section), field)) / part.error)
    print("| figure | truth within two standard errors | mean distance, standard errors |\n|---|---:|---:|")
    for field, found in distances.items():
        within = sum(abs(distance) < 2 for distance in found) / len(found)
        print(f"| {field} | {within:.0%} of {len(found)} | {sum(found) / len(found):+.2f} |")


if __name__ == "__main__":
    main()
