"""The nodal equations of a tile written down directly and solved by a sparse direct solver: slow, plain, independent.

Zero resistances are not divided by: the nodes that they join are one node.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

Array = np.ndarray


@dataclass(frozen=True)
class Solved:
    outputs_A: Array
    """(inputs, cols)"""
    word_V: Array
    """(inputs, rows, cols)"""
    bit_V: Array
    """(inputs, rows, cols)"""


def solve(
    g_S: Array,
    v_V: Array,
    *,
    word_ohm: float = 0.0,
    bit_ohm: float = 0.0,
    driver_ohm: float = 0.0,
    sense_ohm: float = 0.0,
    both_ends: bool = False,
    open_word_lines: Sequence[int] = (),
    open_bit_lines: Sequence[int] = (),
) -> Solved:
    """(rows, cols) and (inputs, rows) -> what Kirchhoff's current law says."""
    rows, cols = g_S.shape
    cells = rows * cols
    word = np.arange(cells).reshape(rows, cols)
    bit = word + cells
    source, ground = 2 * cells + np.arange(rows), 2 * cells + rows
    ends = [(source[i], word[i, 0], driver_ohm + word_ohm) for i in range(rows) if i not in open_word_lines]
    if both_ends:
        ends += [(source[i], word[i, -1], driver_ohm + word_ohm) for i in range(rows) if i not in open_word_lines]
    sense = [(bit[-1, j], ground, bit_ohm + sense_ohm) for j in range(cols) if j not in open_bit_lines]
    along = [(a, b, word_ohm) for a, b in zip(word[:, :-1].flat, word[:, 1:].flat, strict=True)]
    down = [(a, b, bit_ohm) for a, b in zip(bit[:-1].flat, bit[1:].flat, strict=True)]
    branches = np.array(ends + sense + along + down, dtype=float).reshape(-1, 3)
    merged = branches[branches[:, 2] == 0][:, :2].astype(int)
    resistive = branches[branches[:, 2] > 0]
    nodes = 2 * cells + rows + 1
    joined = coo_array((np.ones(len(merged)), (merged[:, 0], merged[:, 1])), shape=(nodes, nodes))
    _, node = connected_components(joined, directed=False)

    first = np.concatenate([resistive[:, 0].astype(int), word.ravel()])
    second = np.concatenate([resistive[:, 1].astype(int), bit.ravel()])
    g = np.concatenate([1 / resistive[:, 2], g_S.ravel()])
    a, b = node[first], node[second]
    laplacian = coo_array(
        (np.concatenate([g, g, -g, -g]), (np.concatenate([a, b, a, b]), np.concatenate([a, b, b, a]))),
        shape=(node.max() + 1, node.max() + 1),
    ).tocsc()
    known = np.append(node[source], node[ground])
    known_V = np.hstack([v_V, np.zeros((len(v_V), 1))])
    # What hangs on no source and no ground floats: its voltage is arbitrary.
    _, island = connected_components(laplacian != 0, directed=False)
    unknown = np.setdiff1d(np.flatnonzero(np.isin(island, island[known])), known)
    everything_V = np.zeros((node.max() + 1, len(v_V)))
    everything_V[known] = known_V.T
    if len(unknown):
        inside = laplacian[unknown][:, unknown].tocsc()
        everything_V[unknown] = splu(inside).solve(-(laplacian[unknown][:, known] @ known_V.T))
    volts = everything_V[node].T
    word_V, bit_V = volts[:, word], volts[:, bit]
    outputs_A = (g_S * (word_V - bit_V)).sum(1)
    outputs_A[:, list(open_bit_lines)] = 0.0
    return Solved(outputs_A, word_V, bit_V)


def effective(g_S: Array, **wires: object) -> Array:
    """(rows, cols) -> (rows, cols): one volt on each word line in turn."""
    return solve(g_S, np.eye(len(g_S)), **wires).outputs_A  # type: ignore[arg-type]
