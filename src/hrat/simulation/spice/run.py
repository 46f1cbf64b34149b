"""Many inputs through a chain of layers: cut into chunks, each a run of ngspice, some at a time."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrat.processes import tell_waiting
from hrat.simulation.spice.circuit import CircuitLayer, Floats, Readings, SpiceOptions, check_chain, count_devices
from hrat.simulation.spice.failure import SpiceFailure
from hrat.simulation.spice.leash import TELL_S
from hrat.simulation.spice.netlist_text import ChainText
from hrat.simulation.spice.ngspice import Ngspice, find_ngspice
from hrat.simulation.spice.runner import run_netlist
from hrat.spec import HardwareSpec

__all__ = ["ChainResult", "run_chain"]

MOST_POINTS = 2_000
"""Inputs of a run: reading tables takes time that grows with the square of their length."""
MOST_TABLE_VALUES = 1_000_000
"""Inputs times word lines of a run, about 150 MB of ngspice's memory."""
MOST_WORKERS = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class ChainResult:
    """Amplifier outputs of a chain of layers."""

    outputs: tuple[Floats, ...]
    """Outputs of each layer, `(n, cols)`, V; empty after a failure."""
    seconds: float
    """Wall time."""
    stats: dict[str, Any]
    """n_devices, ngspice, runs, workers."""
    failure: SpiceFailure | None = None
    """Why there are no outputs."""


def run_chain(
    layers: Sequence[CircuitLayer],
    spec: HardwareSpec,
    inputs_V: Floats,
    options: SpiceOptions | None = None,
    *,
    readings: Sequence[Readings] = (),
    throw: bool = False,
) -> ChainResult:
    """Solve a chain of layers for many inputs.

    Args:
        layers: each is fed by the one before, through its read clamp.
        spec: tile size, wires, read-out, and the swing of first amplifiers.
        inputs_V: voltages on the first layer's word lines, `(n, rows)`, V; taken as they are, without DAC or clamp.
        options: amplifier, tolerances, processes.
        readings: what differs from input to input in each layer; empty where nothing does.
        throw: raise a failure instead of returning it.

    Raises:
        CircuitError: something does not fit.
        SpiceFailure: there is no solution, and `throw` is set.
    """
    options = options or SpiceOptions()
    inputs_V = np.asarray(inputs_V, dtype=np.float64)
    check_chain(layers, inputs_V)
    started = time.perf_counter()
    stats: dict[str, Any] = {"n_devices": count_devices(layers)}
    try:
        program = find_ngspice(options.ngspice)
        stats["ngspice"] = str(program)
        program.check_size(stats["n_devices"], wires=spec.array.limit_wires)
        noisy = any(of_layer.inputs_V for of_layer in readings)
        text = ChainText.of(layers, spec, options, klu=program.has_klu, noisy_inputs=noisy)
        outputs = _run_chunks(program, text, inputs_V, readings, stats)
    except SpiceFailure as failure:
        if throw:
            raise
        return ChainResult(outputs=(), seconds=time.perf_counter() - started, stats=stats, failure=failure)
    return ChainResult(outputs=outputs, seconds=time.perf_counter() - started, stats=stats)


def _run_chunks(
    program: Ngspice, text: ChainText, inputs_V: Floats, readings: Sequence[Readings], stats: dict[str, Any]
) -> tuple[Floats, ...]:
    n = len(inputs_V)
    workers = text.options.workers or min(MOST_WORKERS, os.cpu_count() or 1)
    size = text.options.chunk or _chunk_size(n, inputs_V.shape[1], workers)
    parts = [slice(start, min(start + size, n)) for start in range(0, n, size)]
    outputs = tuple(np.empty((n, len(nodes))) for nodes in text.outputs)
    stop = threading.Event()

    def run(part: slice) -> None:
        some = [of_layer[part] for of_layer in readings]
        for whole, of_part in zip(outputs, _run_part(program, text, inputs_V[part], some, stop), strict=True):
            whole[part] = of_part

    stats.update(runs=len(parts), workers=min(workers, len(parts)))
    with ThreadPoolExecutor(workers) as pool:
        runs = [pool.submit(run, part) for part in parts]
        try:
            left = set(runs)
            while left:
                ended, left = wait(left, timeout=TELL_S, return_when=FIRST_EXCEPTION)
                for one in ended:
                    one.result()
                tell_waiting(sum(one.done() for one in runs), len(runs))
        except BaseException:  # a failure or Ctrl-C: the other runs end as well
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return outputs


def _chunk_size(n: int, rows: int, workers: int) -> int:
    """Equal parts for all workers, none so long that reading its tables takes longer than solving it."""
    most = max(1, min(MOST_POINTS, MOST_TABLE_VALUES // rows))
    runs = max(math.ceil(n / most), min(workers, n))
    return math.ceil(n / (math.ceil(runs / workers) * workers))


def _run_part(
    program: Ngspice, text: ChainText, inputs_V: Floats, readings: Sequence[Readings], stop: threading.Event
) -> list[Floats]:
    options = text.options
    plots = run_netlist(
        program, text.with_inputs(inputs_V, readings), time_limit_s=options.time_limit_s, stop=stop, keep=options.keep
    )
    values = plots[-1].values
    if len(values) != len(inputs_V) or not bool(np.isfinite(values).all()):
        raise SpiceFailure(
            "bad_output", f"expected finite voltages for {len(inputs_V)} inputs, got {len(values)} or some that are not"
        )
    return [plots[-1].columns([f"v({node})" for node in nodes]) for nodes in text.outputs]
