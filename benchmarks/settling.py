"""How soon the outputs of a chip's layers settle: a transient of each layer in ngspice, against its DC solution.

    python benchmarks/settling.py lenet5.chips

Word lines step from 0 V to voltages drawn evenly within the read threshold.
"""

import argparse
from pathlib import Path

import numpy as np
from timing import machine

import hrat
from hrat.simulation.spice import Amplifier, SpiceOptions, circuit_layers, run_chain, transient


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chips", type=Path)
    parser.add_argument("--gbw", type=float, default=10e6, metavar="HZ", help="gain-bandwidth product of amplifiers")
    parser.add_argument("--node", type=float, default=1e-15, metavar="F", help="capacitance at each crossing")
    parser.add_argument("--within", type=float, default=1e-3, metavar="V", help="what counts as settled")
    options = parser.parse_args()
    chip = hrat.ProgrammedChip.load(options.chips)[0]
    spec = chip.deployment.spec
    spice = SpiceOptions(amplifier=Amplifier(gbw_Hz=options.gbw))
    generator = np.random.default_rng(0)
    print(f"Machine: {machine()}.\n\n| layer | ends from DC, V | settled within {options.within:g} V after, s |")
    print("|---|---:|---:|")
    for name in chip.layers:
        layer = circuit_layers(chip, 0, [name])[0]
        v = generator.uniform(-spec.device.v_read_V, spec.device.v_read_V, (1, layer.rows))
        settled = run_chain([layer], spec, v, spice, throw=True).outputs[0][0]
        course = transient(layer, spec, v[0], spice, c_node_F=options.node)
        off_V = float(np.abs(course.outputs_V[-1] - settled).max())
        print(f"| {name} | {off_V:.1e} | {float(course.settling_s(options.within).max()):.2g} |", flush=True)


if __name__ == "__main__":
    main()
