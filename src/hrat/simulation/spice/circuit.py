"""Parts of a circuit, layers and amplifiers, and the options of its solution. Plain data, checked when made.

Conventions are those of the whole package: `V_out = clamp(R_f sum_k (G+_k - G-_k) v_k + V_bias)`, positive by
convention. Amplifiers invert, so each word line carries the opposite of the voltage that the convention names, and the
bias DAC the opposite of the bias; the devices stay where they are, so that what a wire loses is the same.
"""

from __future__ import annotations

import math
import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from hrat.encoding import Readout
from hrat.errors import HratError
from hrat.seeds import check_seed
from hrat.spec import HardwareSpec

__all__ = [
    "Amplifier",
    "CircuitError",
    "CircuitLayer",
    "Dialect",
    "Floats",
    "Readings",
    "SpiceOptions",
    "amplifier_of",
    "count_devices",
]

Floats = NDArray[np.float64]
Dialect = Literal["ngspice", "ltspice", "xyce"]
DIALECTS: tuple[Dialect, ...] = ("ngspice", "ltspice", "xyce")


class CircuitError(HratError, ValueError):
    """A circuit that cannot be built from what was given."""


@dataclass(frozen=True, kw_only=True)
class Amplifier:
    """The operational amplifier of a read-out.

    Its open-loop output is `A (v_plus - v_minus)` within its limits. In a transimpedance stage with feedback R_f and a
    total conductance G_total at the summing node (devices and bias resistor) the closed loop gives
    `V_out = -R_f I / (1 + (1 + R_f G_total) / A)`: finite gain costs a share of about `R_f G_total / A`. An offset
    appears at the output times the noise gain `1 + R_f G_total`, which is also what slows the stage down: its time
    constant is `(1 + R_f G_total) / (2 pi gbw)`. Limits: one pole, no slew rate, no input current.
    """

    gain: float | None = 1e5
    """Open-loop gain at DC; None for an ideal amplifier, whose virtual ground is exact even where it saturates."""
    offset_V: float = 0.0
    """Standard deviation of the input offset, drawn for each amplifier, V."""
    gbw_Hz: float = 10e6
    """Gain-bandwidth product, for transients only, Hz."""
    seed: int = 0
    """Seed of the offsets; each layer has its own stream, by its name."""

    def __post_init__(self) -> None:
        """Refuse values that no amplifier has."""
        check_seed(self.seed, "Amplifier.seed", most=2**128 - 1)  # a chip's seed may be within
        if self.gain is not None and not 1.0 < self.gain < math.inf:
            raise CircuitError(
                f"Amplifier.gain: expected a finite number above 1, got {self.gain}; None is an ideal amplifier"
            )
        if not 0.0 <= self.offset_V < math.inf:
            raise CircuitError(f"Amplifier.offset_V: expected a standard deviation, 0 V or more, got {self.offset_V}")
        if not 0.0 < self.gbw_Hz < math.inf:
            raise CircuitError(f"Amplifier.gbw_Hz: expected a positive frequency, got {self.gbw_Hz} Hz")

    def offsets_V(self, layer: str, count: int) -> Floats:
        """The offsets of a layer's amplifiers, `(count,)`, V."""
        stream = np.random.default_rng([self.seed % 2**128, zlib.crc32(layer.encode())])
        return self.offset_V * stream.standard_normal(count)


@dataclass(frozen=True, kw_only=True, eq=False)
class CircuitLayer:
    """One crossbar with its amplifiers: a fully connected layer, or one group of a convolution."""

    name: str
    """Node names begin with it, in lower case, with `_` for all that is neither letter nor digit."""
    g_pos_S: Floats
    """Conductances of the positive partners, `(word lines, cols)`, S; 0 for a device that is open."""
    g_neg_S: Floats
    """Conductances of the negative partners, S: `(word lines, cols)`, or fewer columns where weights share them."""
    r_f_ohm: float
    """Feedback resistance of the amplifiers."""
    bias_V: Floats | None = None
    """Bias that is added to each output, `(cols,)`, V."""
    low_V: float = -math.inf
    """Lowest output voltage of the amplifiers."""
    high_V: float = math.inf
    """Highest output voltage of the amplifiers."""
    rectifies: bool = False
    """The amplifiers have a single supply, so that their lowest output is `floor_V`: this makes the ReLU."""
    floor_V: float = 0.0
    """Lowest output voltage of amplifiers with a single supply."""
    amplifiers: tuple[tuple[Floats, Floats], ...] = ()
    """Offset, V, and relative error of the feedback resistor of each amplifier: of the last ones, then of inner ones,
    each `(count,)`; empty where they have none."""
    row_inputs: tuple[int, ...] | None = None
    """The input that each word line carries, several perhaps the same one; None: word line k carries input k."""
    col_outputs: tuple[int, ...] | None = None
    """The output that each bit line yields; None: bit line j yields output j."""
    clamp_V: float = math.inf
    """The next layer's word lines get the outputs clamped to +- this."""

    def __post_init__(self) -> None:
        """Check shapes and signs."""
        shape = self.g_pos_S.shape
        of_negatives = self.g_neg_S.shape
        fits = len(of_negatives) == 2 and of_negatives[0] == shape[0] and 0 < of_negatives[1] <= shape[-1]
        if len(shape) != 2 or 0 in shape or not fits:
            expected = "one shape (rows, cols), or fewer columns of negative partners that weights share"
            raise self._error("g_pos_S, g_neg_S", expected, f"{shape} and {of_negatives}")
        for name, g_S in (("g_pos_S", self.g_pos_S), ("g_neg_S", self.g_neg_S)):
            if not bool(np.isfinite(g_S).all()) or bool((g_S < 0).any()):
                raise self._error(name, "finite conductances of 0 S or more", "others")
        for name, signals, count in (
            ("row_inputs", self.row_inputs, shape[0]),
            ("col_outputs", self.col_outputs, shape[1]),
        ):
            if signals is not None and (len(signals) != count or set(signals) != set(range(max(signals) + 1))):
                raise self._error(name, f"a signal for each of {count} lines, none left out", f"{signals}")
        if not 0.0 < self.r_f_ohm < math.inf:
            raise self._error("r_f_ohm", "a positive resistance", f"{self.r_f_ohm}")
        if self.bias_V is not None and (self.bias_V.shape != shape[1:] or not bool(np.isfinite(self.bias_V).all())):
            raise self._error("bias_V", f"finite voltages of shape {shape[1:]}", f"shape {self.bias_V.shape}")
        if not self.low_V <= 0.0 < self.high_V:
            raise self._error("low_V, high_V", "low_V <= 0 < high_V", f"{self.low_V} and {self.high_V} V")
        if not 0.0 <= self.floor_V < self.high_V:
            raise self._error("floor_V", f"0 V or more, below high_V = {self.high_V} V", f"{self.floor_V} V")
        if not self.clamp_V > 0.0:
            raise self._error("clamp_V", "a positive voltage", f"{self.clamp_V}")

    @property
    def rows(self) -> int:
        """Inputs."""
        return int(self.g_pos_S.shape[0]) if self.row_inputs is None else max(self.row_inputs) + 1

    @property
    def lines(self) -> int:
        """Word lines, those of the two partners counted once."""
        return int(self.g_pos_S.shape[0])

    @property
    def cols(self) -> int:
        """Outputs."""
        return int(self.g_pos_S.shape[1])

    @property
    def limits_V(self) -> tuple[float, float]:
        """Lowest and highest output of the amplifiers, V."""
        return (self.floor_V if self.rectifies else self.low_V), self.high_V

    def offsets_V(self, term: int, count: int) -> Floats:
        """Offsets of the last amplifiers (term 0) or the inner ones (1), `(count,)`, V."""
        return self.amplifiers[term][0] if self.amplifiers else np.zeros(count)

    def r_f_errors(self, term: int) -> Floats | None:
        """Relative errors of the feedback resistors of a term, `(count,)`; None where all are alike."""
        errors = self.amplifiers[term][1] if self.amplifiers else None
        return None if errors is None or not bool(errors.any()) else errors

    @property
    def node(self) -> str:
        """The name in a form that every dialect takes; see `hrat.simulation.spice.netlist`."""
        name = re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_")
        return name if name[:1].isalpha() else f"layer_{name}"

    def _error(self, what: str, expected: str, got: str) -> CircuitError:
        return CircuitError(f"layer '{self.name}': {what}: expected {expected}, got {got}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Readings:
    """What differs from reading to reading in a layer, by term: last amplifiers, then inner ones."""

    inputs_V: tuple[Floats, ...] = ()
    """Noise in series with the input of each amplifier, each `(inputs, count)`, V; empty where there is none."""
    currents_A: tuple[Floats, ...] = ()
    """Noise of the devices, as current into each summing node, each `(inputs, count)`, A; empty where there is none."""

    def __getitem__(self, some: slice) -> Readings:
        """Some of the inputs."""
        return Readings(
            inputs_V=tuple(part[some] for part in self.inputs_V),
            currents_A=tuple(part[some] for part in self.currents_A),
        )


@dataclass(frozen=True, kw_only=True)
class SpiceOptions:
    """Options of building and solving the circuit."""

    amplifier: Amplifier = field(default_factory=Amplifier)
    workers: int | None = None
    """Processes at a time; None for as many as there are cores, two at most (each loads the whole memory bus)."""
    chunk: int | None = None
    """Inputs of one run; None for the number that was quickest in trials."""
    time_limit_s: float = 3600.0
    """Longest time of a run of ngspice, s."""
    reltol: float = 1e-6
    """Newton's relative tolerance. At DC the circuit is piecewise linear: results are far more exact than this."""
    vntol_V: float = 1e-9
    """Newton's absolute tolerance on voltages."""
    ngspice: str | os.PathLike[str] | None = None
    """The program; None to look for it (`find_ngspice`)."""
    keep: Path | None = None
    """A folder for the netlists and logs of the runs; None to throw them away."""

    def __post_init__(self) -> None:
        """Refuse options that cannot be run."""
        for name in ("workers", "chunk"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise CircuitError(f"SpiceOptions.{name}: expected 1 or more, or None, got {value}")
        for name in ("time_limit_s", "reltol", "vntol_V"):
            if not getattr(self, name) > 0:
                raise CircuitError(f"SpiceOptions.{name}: expected a positive number, got {getattr(self, name)}")


def check_chain(layers: Sequence[CircuitLayer], inputs_V: Floats) -> None:
    """Refuse layers that do not fit each other or the inputs.

    Raises:
        CircuitError: with the layer, what it expects, and what it gets.
    """
    if not layers:
        raise CircuitError("expected at least one layer, got none")
    nodes = [layer.node for layer in layers]
    for layer in layers:
        if nodes.count(layer.node) > 1:
            raise CircuitError(f"two layers have the node name '{layer.node}'; give them names that differ in letters")
    if inputs_V.ndim != 2 or inputs_V.shape[1] != layers[0].rows or not len(inputs_V):
        raise CircuitError(
            f"layer '{layers[0].name}': expected inputs of shape (n, {layers[0].rows}), got {inputs_V.shape}"
        )
    for before, layer in pairwise(layers):
        if before.cols != layer.rows:
            raise CircuitError(
                f"layer '{layer.name}': expected {layer.rows} inputs, got the {before.cols} outputs of '{before.name}'"
            )


def physical_grid(layer: CircuitLayer, spec: HardwareSpec) -> Floats:
    """Conductances as they lie on the array, `(grid rows, grid cols)`, S; see `hrat.encoding.Readout.to_grid`."""
    readout = Readout.of(spec)
    if layer.g_neg_S.shape[1] != readout.count_negatives(layer.cols):
        raise CircuitError(
            f"layer '{layer.name}': g_neg_S has {layer.g_neg_S.shape[1]} columns; expected "
            f"{readout.count_negatives(layer.cols)} with the read-out '{readout.name}'"
        )
    pair = (torch.from_numpy(np.ascontiguousarray(g_S)) for g_S in (layer.g_pos_S, layer.g_neg_S))
    grid: Floats = readout.to_grid(*pair).numpy()
    return grid


def pair_of(grid: Floats, spec: HardwareSpec) -> tuple[Floats, Floats]:
    """The inverse of `physical_grid`: what belongs to G+ and to G-, `(rows, cols)`."""
    g_pos_S, g_neg_S = Readout.of(spec).from_grid(torch.from_numpy(np.ascontiguousarray(grid)))
    return g_pos_S.numpy(), g_neg_S.numpy()


def amplifier_of(amplifier: Amplifier, spec: HardwareSpec) -> Amplifier:
    """The amplifier of a circuit: that of the options, with the open-loop gain of the spec where that names one.

    Raises:
        CircuitError: both draw offsets.
    """
    periphery = spec.periphery
    if amplifier.offset_V > 0 and periphery.limit_offset and periphery.amplifier_offset_V > 0:
        raise CircuitError(
            f"offsets are given twice: {amplifier.offset_V:g} V by the options of SPICE, and amplifier_offset_V = "
            f"{periphery.amplifier_offset_V:g} V by the spec, whose chips have theirs; leave one of them out"
        )
    if periphery.limit_gain and periphery.amplifier_gain is not None:
        return replace(amplifier, gain=periphery.amplifier_gain)
    return amplifier


def count_devices(layers: Sequence[CircuitLayer]) -> int:
    """Memristors in the netlist; open ones are left out."""
    return sum(int(np.count_nonzero(g_S)) for layer in layers for g_S in (layer.g_pos_S, layer.g_neg_S))
