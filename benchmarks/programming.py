"""How fast devices are programmed pulse by pulse, against the rate at which the machine draws normal numbers.

    python benchmarks/programming.py                      # an array of VGG-16's size
    python benchmarks/programming.py --aihwkit PYTHON     # and aihwkit's write-verify, in an interpreter that has it

Each pulse needs a normal number for its variation from cycle to cycle: drawing these alone is the limit.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch
from timing import machine

import hrat
from hrat.programming.schemes import SCHEMES

AIHWKIT = """
import json, sys, time, torch
from aihwkit.nn import AnalogLinear
from aihwkit.simulator.configs import SingleRPUConfig, SoftBoundsDevice
side, turns = int(sys.argv[1]), int(sys.argv[2])
torch.manual_seed(0)
layer = AnalogLinear(side, side, bias=False, rpu_config=SingleRPUConfig(device=SoftBoundsDevice(dw_min=0.05)))
tile = next(layer.analog_tiles())
times = []
for _ in range(turns):
    target = torch.rand(side, side) - 0.5
    layer.set_weights(target)
    steps = 20
    start = time.perf_counter()
    tile.program_weights(max_iter=steps, tolerance=0.0, w_init=0.0)
    times.append((time.perf_counter() - start) / (steps * side * side))
print(json.dumps(times))
"""


def hrat_rate(devices: int, preset: str) -> tuple[float, float, int, float]:
    """Seconds, processor seconds, pulses, and share of devices that were not reached, of one array."""
    spec = hrat.load_spec(preset, scheme="write_verify", max_pulses=500)
    states = torch.tensor(spec.device.states_S)
    target_S = states[torch.randint(len(states), (devices,), generator=torch.Generator().manual_seed(0))]
    start, busy = time.perf_counter(), time.process_time()
    done = SCHEMES["write_verify"](target_S, spec, torch.Generator().manual_seed(1), None)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    assert done.pulses is not None
    failed = float((done.pulses.status == hrat.artifacts.Status.BUDGET_SPENT).float().mean())
    pulses = int(done.pulses.set_pulses.sum(dtype=torch.int64) + done.pulses.reset_pulses.sum(dtype=torch.int64))
    return seconds, busy, pulses, failed


def normal_rate() -> float:
    """Normal numbers that torch draws in a second of processor time."""
    piece, turns = torch.empty(2**15), 2000
    start = time.process_time()
    for _ in range(turns):
        piece.normal_()
    return turns * len(piece) / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=30_000_000)
    parser.add_argument("--preset", default="wan2022", help="the hardware; wan2022 takes about 8 pulses a device")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--aihwkit", metavar="PYTHON", help="an interpreter that has aihwkit")
    options = parser.parse_args()
    print(f"Machine: {machine()}; {options.devices:,} devices of `{options.preset}`, at most 500 pulses.\n")
    rates, busy_rates, normals = [], [], []
    for _ in range(options.turns):
        normals.append(normal_rate())
        seconds, busy, pulses, failed = hrat_rate(options.devices, options.preset)
        rates.append(pulses / seconds)
        busy_rates.append(pulses / busy)
        print(
            f"{seconds:.1f} s, {pulses / options.devices:.1f} pulses a device, {failed:.2%} not reached, "
            f"{rates[-1] / 1e6:.1f} million pulses/s",
            flush=True,
        )
    peak_GB = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    a_pulse, a_number = 1e9 / statistics.median(busy_rates), 1e9 / statistics.median(normals)
    print(
        f"\nmedian: {statistics.median(rates) / 1e6:.1f} million pulses/s; in processor time {a_pulse:.1f} ns a pulse"
    )
    print(f"and {a_number:.2f} ns a normal number; peak memory of the process {peak_GB:.2f} GB")
    if options.aihwkit:
        command = [options.aihwkit, "-c", AIHWKIT, "512", str(options.turns)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"aihwkit failed:\n{done.stderr}")
        theirs = 1 / statistics.median(json.loads(done.stdout.splitlines()[-1]))
        ratio = statistics.median(rates) / theirs
        print(
            f"aihwkit, write-verify of a 512 x 512 tile: {theirs / 1e6:.2f} million pulses/s, {ratio:.0f} times slower"
        )


if __name__ == "__main__":
    main()
