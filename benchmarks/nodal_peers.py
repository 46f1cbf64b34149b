"""Other ways to solve a tile with wires, for benchmarks/nodal.py, which starts this in a Python that has them.

Reads a task for each line, answers with seconds; an empty task asks for the names of what is installed. Sparse solvers
get the nodal equations as they are: a symmetric, positive definite matrix of two unknowns for each device.
"""

import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
from scipy.sparse import coo_array, csc_matrix, csr_matrix
from scipy.sparse.linalg import splu

Solve = Callable[[csc_matrix, np.ndarray], np.ndarray]


def superlu(matrix: csc_matrix, given: np.ndarray) -> np.ndarray:
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(given)


def cholmod(matrix: csc_matrix, given: np.ndarray) -> np.ndarray:
    from sksparse.cholmod import cholesky

    return cholesky(matrix)(given)


def pardiso(matrix: csc_matrix, given: np.ndarray) -> np.ndarray:
    from pypardiso import PyPardisoSolver
    from scipy.sparse import triu

    solver = PyPardisoSolver(mtype=2)  # real, symmetric, positive definite: the upper half
    try:
        return solver.solve(csr_matrix(triu(matrix)), given)
    finally:
        solver.free_memory(everything=True)


def nodal_equations(g_S: np.ndarray, v_V: np.ndarray, wire_ohm: float, solve: Solve) -> np.ndarray:
    """(rows, cols) and (inputs, rows) -> (inputs, cols)."""
    rows, cols = g_S.shape
    word = np.arange(rows * cols).reshape(rows, cols)
    bit = word + rows * cols
    first = np.concatenate([word[:, :-1].ravel(), bit[:-1].ravel(), word.ravel()])
    second = np.concatenate([word[:, 1:].ravel(), bit[1:].ravel(), bit.ravel()])
    g = np.concatenate([np.full(len(first) - g_S.size, 1 / wire_ohm), g_S.ravel()])
    ends = np.concatenate([word[:, 0], bit[-1]])
    values = np.concatenate([g, g, -g, -g, np.full(len(ends), 1 / wire_ohm)])
    rows_of = np.concatenate([first, second, first, second, ends])
    cols_of = np.concatenate([first, second, second, first, ends])
    matrix = coo_array((values, (rows_of, cols_of)), shape=(2 * g_S.size, 2 * g_S.size)).tocsc()
    given = np.zeros((2 * g_S.size, len(v_V)))
    given[word[:, 0]] = v_V.T / wire_ohm
    return np.asarray(solve(csc_matrix(matrix), given))[bit[-1]].T / wire_ohm


def badcrossbar(g_S: np.ndarray, v_V: np.ndarray, wire_ohm: float) -> np.ndarray:
    from badcrossbar import compute

    return compute(v_V.T, 1 / g_S, r_i=wire_ohm, node_voltages=False, all_currents=False).currents.output


SPARSE = {"SuperLU": (superlu, "scipy"), "CHOLMOD": (cholmod, "sksparse"), "PARDISO": (pardiso, "pypardiso")}


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    names = [name for name, (_, package) in SPARSE.items() if find_spec(package)]
    names += ["badcrossbar"] if find_spec("badcrossbar") else []
    for line in sys.stdin:
        task = json.loads(line)
        if not task:
            print(json.dumps(names), flush=True)
            continue
        data = np.load(task["tile"])
        g_S, v_V = data["g_S"], data["v_V"]
        clock = time.process_time if task["clock"] == "cpu" else time.perf_counter
        start = clock()
        if task["name"] == "badcrossbar":
            outputs = badcrossbar(g_S, v_V, task["wire_ohm"])
        else:
            outputs = nodal_equations(g_S, v_V, task["wire_ohm"], SPARSE[task["name"]][0])
        seconds = clock() - start
        np.save(task["answer"], outputs)
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main()
