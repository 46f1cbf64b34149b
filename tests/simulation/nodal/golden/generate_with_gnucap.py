"""Write gnucap.json: what the circuit simulator gnucap makes of a few tiles, element by element.

    apt-get install gnucap
    python generate_with_gnucap.py

gnucap (gnucap.org, made apart from SPICE) gets every resistor by itself, with the circuit as `docs/circuit.md` draws it
and no line of this project's netlists. It knows what badcrossbar does not: drivers, sense resistance, lines driven at
both ends, broken lines, wires that are ideal in one direction.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

OPTIONS = ".options numdgt=15 outwidth=9999 short=1e-10 gmin=0 reltol=1e-14 abstol=1e-20 vntol=1e-17"
"""`short` is what gnucap puts in series with every voltage source, ohm."""

TILES: dict[str, dict[str, Any]] = {
    "one device": {"shape": (1, 1), "word_ohm": 2.0, "bit_ohm": 3.0, "driver_ohm": 50.0, "sense_ohm": 20.0},
    "one word line": {"shape": (1, 7), "word_ohm": 5.0, "bit_ohm": 1.0, "driver_ohm": 50.0, "sense_ohm": 20.0},
    "one bit line": {"shape": (7, 1), "word_ohm": 5.0, "bit_ohm": 1.0, "driver_ohm": 50.0, "sense_ohm": 20.0},
    "5x4": {"shape": (5, 4), "word_ohm": 30.0, "bit_ohm": 4.0, "driver_ohm": 200.0, "sense_ohm": 7.0},
    "5x4, both ends": {
        "shape": (5, 4),
        "word_ohm": 30.0,
        "bit_ohm": 4.0,
        "driver_ohm": 200.0,
        "sense_ohm": 7.0,
        "both_ends": True,
    },
    "12x9, both ends, no drivers": {
        "shape": (12, 9),
        "word_ohm": 8.0,
        "bit_ohm": 2.0,
        "sense_ohm": 1.0,
        "both_ends": True,
    },
    "9x12, ideal word lines": {"shape": (9, 12), "bit_ohm": 6.0, "sense_ohm": 15.0},
    "9x12, ideal bit lines": {"shape": (9, 12), "word_ohm": 6.0, "driver_ohm": 15.0, "sense_ohm": 1.0},
    "7x6, broken lines": {
        "shape": (7, 6),
        "word_ohm": 12.0,
        "bit_ohm": 5.0,
        "driver_ohm": 100.0,
        "sense_ohm": 9.0,
        "open_word_lines": [1, 4],
        "open_bit_lines": [0, 3],
    },
    "7x6, broken lines, both ends": {
        "shape": (7, 6),
        "word_ohm": 12.0,
        "bit_ohm": 5.0,
        "driver_ohm": 100.0,
        "sense_ohm": 9.0,
        "both_ends": True,
        "open_word_lines": [2],
        "open_bit_lines": [5],
    },
}


SUFFIXES = {"m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}


def number(printed: str) -> float:
    return float(printed[:-1]) * SUFFIXES[printed[-1]] if printed[-1] in SUFFIXES else float(printed)


class Circuit:
    """Resistors of a tile; those of 0 ohm join their nodes, `of` says into which."""

    def __init__(self, tile: dict[str, Any], g_S: np.ndarray) -> None:
        self.rows, self.cols = g_S.shape
        self.tile, self.g_S = tile, g_S
        self.sensed = [j for j in range(self.cols) if j not in tile.get("open_bit_lines", [])]
        self.resistors: list[str] = []
        self.joined: dict[str, str] = {}
        for i in range(self.rows):
            self._line([f"w{i}_{j}" for j in range(self.cols)], tile.get("word_ohm", 0.0))
            if i in tile.get("open_word_lines", []):
                continue
            self._chain(f"s{i}", f"w{i}_0", ("driver_ohm", "word_ohm"))
            if tile.get("both_ends"):
                self._chain(f"s{i}", f"w{i}_{self.cols - 1}", ("driver_ohm", "word_ohm"))
        for j in range(self.cols):
            self._line([f"b{i}_{j}" for i in range(self.rows)], tile.get("bit_ohm", 0.0))
            if j in self.sensed:
                self._chain("0", f"b{self.rows - 1}_{j}", ("sense_ohm", "bit_ohm"), f"out{j}")
        for i, j in np.ndindex(self.rows, self.cols):
            self.resistors.append(f"Rm{i}_{j} w{i}_{j} b{i}_{j} {1 / float(g_S[i, j])!r}")

    def of(self, node: str) -> str:
        while node in self.joined:
            node = self.joined[node]
        return node

    def _line(self, nodes: list[str], ohm: float) -> None:
        for first, second in pairwise(nodes):
            self._join(first, second, ohm)

    def _join(self, first: str, second: str, ohm: float, name: str | None = None) -> None:
        if ohm:
            self.resistors.append(f"R{name or f'x{len(self.resistors)}'} {first} {second} {ohm!r}")
        else:
            self.joined[self.of(second)] = self.of(first)

    def _chain(self, end: str, node: str, parts: tuple[str, str], name: str | None = None) -> None:
        """Both resistances in series between an end and a line; the one at the end may have a name."""
        at_end, along = (self.tile.get(part, 0.0) for part in parts)
        middle = f"m{end}_{node}"
        self._join(end, middle, at_end, name)
        self._join(middle, node, along)

    def netlist(self, v_V: np.ndarray) -> Iterator[str]:
        yield "* tile"
        for i, volt in enumerate(v_V):
            yield f"V{i} s{i} 0 {float(volt)!r}"
        for line in self.resistors:
            name, first, second, ohm = line.split()
            yield f"{name} {self.of(first)} {self.of(second)} {ohm}"
        yield OPTIONS
        for kind in "wb":
            for i in range(self.rows):
                nodes = [self.of(f"{kind}{i}_{j}") for j in range(self.cols)]
                yield f".print op {' '.join(f'v({node})' for node in nodes)}\n.op"
        yield f".print op {' '.join(f'i(Rout{j})' for j in self.sensed)}\n.op\n.end"

    def solve(self, v_V: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "tile.cir"
            file.write_text("\n".join(self.netlist(v_V)) + "\n")
            run = subprocess.run(["gnucap", "-b", str(file)], capture_output=True, text=True, check=True)
        printed = run.stdout.splitlines()
        rows = [printed[k + 1].split()[1:] for k, line in enumerate(printed) if line.startswith("#")]
        numbers = [np.array([number(value) for value in row]) for row in rows]
        outputs_A = np.zeros(self.cols)
        outputs_A[self.sensed] = -numbers[-1]  # Rout is named from ground
        return outputs_A, np.array(numbers[: self.rows]), np.array(numbers[self.rows : 2 * self.rows])


def case(tile: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    g_S = rng.uniform(5e-6, 150e-6, tile["shape"])
    v_V = rng.uniform(-0.3, 0.3, (3, tile["shape"][0]))
    outputs_A, word_V, bit_V = zip(*(Circuit(tile, g_S).solve(v) for v in v_V), strict=True)
    return {
        **{name: value for name, value in tile.items() if name != "shape"},
        "g_S": g_S.tolist(),
        "v_V": v_V.tolist(),
        "outputs_A": np.array(outputs_A).tolist(),
        "word_V": np.array(word_V).tolist(),
        "bit_V": np.array(bit_V).tolist(),
    }


def main() -> None:
    rng = np.random.default_rng(2013)
    cases = {name: case(tile, rng) for name, tile in TILES.items()}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(values)}" for name, values in cases.items())
    Path(__file__).with_name("gnucap.json").write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
