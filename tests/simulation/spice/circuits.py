"""Random layers, and what they must put out: by a plain matrix product, and by Kirchhoff's laws on every node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import spsolve

import hrat
from hrat.simulation.spice import Amplifier, CircuitLayer, SpiceOptions
from hrat.simulation.spice.circuit import Floats
from hrat.spec import Array, HardwareSpec

SWING_V, READ_V = 1.0, 0.3
IDEAL = SpiceOptions(amplifier=Amplifier(gain=None))
READOUTS = ["dual_rail", "two_stage"]


def spec_of(**settings: Any) -> HardwareSpec:
    """Small tiles, so that a few lines need several of them."""
    return hrat.load_spec("generic-4bit", **{"array.rows": 16, "array.cols": 8} | settings)


def layer_of(rows: int, cols: int, seed: int = 0, **settings: Any) -> CircuitLayer:
    """A layer whose outputs are of the order of 0.3 V."""
    rng = np.random.default_rng([rows, cols, seed])
    g_S = rng.uniform(50e-6, 200e-6, (2, rows, cols))
    values: dict[str, Any] = {
        "name": "fc1",
        "g_pos_S": g_S[0],
        "g_neg_S": g_S[1],
        "r_f_ohm": 3e4 / np.sqrt(rows),
        "bias_V": rng.uniform(-0.1, 0.1, cols),
    }
    return CircuitLayer(**values | settings)


def inputs_of(n: int, rows: int, seed: int = 0) -> Floats:
    return np.random.default_rng([n, rows, seed]).uniform(-READ_V, READ_V, (n, rows))


def by_formula(
    layers: Sequence[CircuitLayer], inputs_V: Floats, readout: str, first_V: float = SWING_V
) -> list[Floats]:
    """Ideal parts."""
    outputs, v = [], inputs_V
    for layer in layers:
        plus, minus = (layer.r_f_ohm * (v @ g_S) for g_S in (layer.g_pos_S, layer.g_neg_S))
        if readout == "two_stage":
            minus = np.clip(minus, -first_V, first_V)
        bias_V = 0.0 if layer.bias_V is None else layer.bias_V
        outputs.append(np.clip(plus - minus + bias_V, *layer.limits_V))
        v = np.clip(outputs[-1], -layer.clamp_V, layer.clamp_V)
    return outputs


def by_kirchhoff(layer: CircuitLayer, spec: HardwareSpec, inputs_V: Floats, array: Array | None = None) -> Floats:
    """Ideal amplifiers without limits behind tiles with wires; `array` replaces the wires of the spec."""
    array = array or spec.array
    outputs_V = np.zeros((len(inputs_V), layer.cols))
    for top in range(0, layer.rows, spec.array.rows):
        for left in range(0, layer.cols, spec.array.cols):
            rows, cols = slice(top, top + spec.array.rows), slice(left, left + spec.array.cols)
            plus, minus, v = layer.g_pos_S[rows, cols], layer.g_neg_S[rows, cols], inputs_V[:, rows]
            if spec.periphery.readout == "two_stage":
                current_A = _currents(_woven(plus, minus, 1), v, array)
                outputs_V[:, cols] += layer.r_f_ohm * (current_A[:, 0::2] - current_A[:, 1::2])
            else:
                rails_V = _woven(v, -v, 1)
                outputs_V[:, cols] += layer.r_f_ohm * _currents(_woven(plus, minus, 0), rails_V, array)
    return outputs_V if layer.bias_V is None else outputs_V + layer.bias_V


def _woven(a: Floats, b: Floats, axis: int) -> Floats:
    """a0 b0 a1 b1 ..."""
    shape = list(a.shape)
    shape[axis] *= 2
    return np.stack((a, b), axis=axis + 1).reshape(shape)


def _currents(g_S: Floats, v_V: Floats, array: Array) -> Floats:
    """Currents into the virtual grounds of one grid of resistors, `(n, cols)`, A: one unknown for each node."""
    rows, cols = g_S.shape
    tiny_ohm = 1e-5  # in place of none
    word, bit, driver, sense = (
        max(r, tiny_ohm) for r in (array.r_word_ohm, array.r_bit_ohm, array.r_driver_ohm, array.r_sense_ohm)
    )
    w = np.arange(rows * cols).reshape(rows, cols)
    b = w + rows * cols
    matrix = sp.lil_matrix((2 * rows * cols, 2 * rows * cols))
    source = np.zeros((2 * rows * cols, len(v_V)))

    def join(p: int, q: int, g: float) -> None:
        matrix[p, p] += g
        matrix[q, q] += g
        matrix[p, q] -= g
        matrix[q, p] -= g

    for i in range(rows):
        for j in range(cols):
            join(w[i, j], b[i, j], g_S[i, j])
            if j:
                join(w[i, j - 1], w[i, j], 1 / word)
            if i:
                join(b[i - 1, j], b[i, j], 1 / bit)
        for end in (0, cols - 1) if array.drive == "both_ends" else (0,):
            matrix[w[i, end], w[i, end]] += 1 / (driver + word)
            source[w[i, end]] += v_V[:, i] / (driver + word)
    for j in range(cols):
        matrix[b[-1, j], b[-1, j]] += 1 / (bit + sense)
    nodes_V = spsolve(matrix.tocsc(), source).reshape(2 * rows * cols, -1)
    return nodes_V[b[-1]].T / (bit + sense)
