"""Write the example measurements of `hrat.measurements.example_csv`, which are synthetic.

    python examples/synthetic_device.py FOLDER

A device whose figures are known (`hrat.measurements.example_truth`) is simulated: 12 devices through four sweeps of 60
set and 60 reset pulses, 300 devices read at six times after programming, 960 devices brought near to 16 targets. The
seeds are fixed, so that the files are the same each time. What a fit finds in them can be held against the truth.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hrat.measurements.synthetic import write_examples

if __name__ == "__main__":
    for path in write_examples(Path(sys.argv[1] if len(sys.argv) > 1 else ".")):
        print(f"wrote {path}")
