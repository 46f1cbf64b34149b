"""badcrossbar: the circuit of one crossbar. Beside it, the same circuit as a plain sparse system."""

import logging

import badcrossbar
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.linalg import spsolve

logging.disable(logging.INFO)  # it tells of every solution


class Adapter:
    """Output currents for one set of input voltages; matrix and factorisation anew in each call, as it does."""

    package = "badcrossbar"
    note = "one set of input voltages; matrix built and factored in each call; beside it scipy.sparse"

    def peer(self, voltages: np.ndarray, resistances: np.ndarray, wire_ohm: float) -> np.ndarray:
        """(rows,), (rows, cols) -> (cols,)."""
        solution = badcrossbar.compute(
            voltages[:, None], resistances, wire_ohm, node_voltages=False, all_currents=False
        )
        return solution.currents.output[0]

    def plain(self, voltages: np.ndarray, resistances: np.ndarray, wire_ohm: float) -> np.ndarray:
        """The nodal equations of the same circuit, written down directly: (rows,), (rows, cols) -> (cols,).

        Each cell joins a node of its word line and one of its bit line. Word lines are driven at their left ends,
        bit lines grounded at their lower ends, each through one more segment of wire.
        """
        rows, cols = resistances.shape
        cells = rows * cols
        word = np.arange(cells).reshape(rows, cols)
        bit = word + cells
        wire = 1 / wire_ohm
        # Every branch between two nodes: two ends and a conductance.
        first = np.concatenate([word[:, :-1].ravel(), bit[:-1].ravel(), word.ravel()])
        second = np.concatenate([word[:, 1:].ravel(), bit[1:].ravel(), bit.ravel()])
        g = np.concatenate([np.full(rows * (cols - 1) + cols * (rows - 1), wire), 1 / resistances.ravel()])
        # Branches to a source or to ground add to the diagonal alone.
        ends = np.concatenate([word[:, 0], bit[-1]])
        g_ends = np.full(rows + cols, wire)
        matrix = coo_array(
            (
                np.concatenate([g, g, -g, -g, g_ends]),
                (
                    np.concatenate([first, second, first, second, ends]),
                    np.concatenate([first, second, second, first, ends]),
                ),
            ),
            shape=(2 * cells, 2 * cells),
        ).tocsc()
        currents = np.zeros(2 * cells)
        currents[word[:, 0]] = voltages * wire
        return spsolve(matrix, currents)[bit[-1]] * wire
