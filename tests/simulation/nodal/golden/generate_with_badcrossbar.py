"""Write badcrossbar.json: what badcrossbar (J. Open Source Softw. 5, 2153, 2020) makes of a few tiles.

    pip install --no-deps badcrossbar==1.1.0 && pip install numpy scipy pathvalidate sigfig
    python generate_with_badcrossbar.py

badcrossbar knows wires only: no drivers, no sense resistance, one driven end. Of the segments behind the last devices
it counts the same as this project does.
"""

import json
import logging
from pathlib import Path
from typing import Any

import badcrossbar
import numpy as np

logging.disable(logging.INFO)  # it tells of every solution

TILES = {
    # name: (rows, cols, word-line ohm, bit-line ohm)
    "one device": (1, 1, 2.0, 3.0),
    "one word line": (1, 7, 5.0, 5.0),
    "one bit line": (7, 1, 5.0, 5.0),
    "5x4": (5, 4, 10.0, 10.0),
    "5x4, word lines of higher resistance": (5, 4, 30.0, 4.0),
    "12x9": (12, 9, 1.0, 1.0),
    "12x9, bit lines of higher resistance": (12, 9, 2.0, 25.0),
}


def case(rows: int, cols: int, word_ohm: float, bit_ohm: float, rng: np.random.Generator) -> dict[str, Any]:
    g_S = rng.uniform(5e-6, 150e-6, (rows, cols))
    v_V = rng.uniform(-0.3, 0.3, (3, rows))
    solution = badcrossbar.compute(v_V.T, 1 / g_S, r_i_word_line=word_ohm, r_i_bit_line=bit_ohm)
    word_V, bit_V = solution.voltages.word_line, solution.voltages.bit_line
    return {
        "word_ohm": word_ohm,
        "bit_ohm": bit_ohm,
        "g_S": g_S.tolist(),
        "v_V": v_V.tolist(),
        "outputs_A": np.atleast_2d(solution.currents.output).tolist(),
        "word_V": np.moveaxis(np.atleast_3d(word_V), -1, 0).tolist(),
        "bit_V": np.moveaxis(np.atleast_3d(bit_V), -1, 0).tolist(),
    }


def main() -> None:
    rng = np.random.default_rng(2153)
    cases = {name: case(*tile, rng) for name, tile in TILES.items()}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(values)}" for name, values in cases.items())
    Path(__file__).with_name("badcrossbar.json").write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
