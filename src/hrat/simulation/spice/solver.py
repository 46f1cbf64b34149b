"""SPICE as a solver of the layers of a network.

Fully connected layers that feed each other through nothing but ReLU and the read clamp are one circuit, so that a
network of such layers runs in SPICE as a whole. A convolution is the crossbar driven with each patch; what lies between
it and the next layer, such as max pooling, is done by whoever drives the circuit.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hrat.artifacts import DeployedLayer, Deployment, ProgrammedChip
from hrat.circuit import OPS, Crossbar, Node, OpNode, Recurrence
from hrat.encoding import LayerReadout
from hrat.physics import (
    Draw,
    amplifier_limits_V,
    conducting_V,
    digital_sum,
    has_reading_errors,
    input_noise_V,
    relu_floor_V,
)
from hrat.simulation.solvers import LayerModel, SolverError, Statistics, linear_model
from hrat.simulation.spice.circuit import (
    Amplifier,
    CircuitError,
    CircuitLayer,
    Floats,
    Readings,
    SpiceOptions,
    amplifier_of,
)
from hrat.simulation.spice.ngspice import find_ngspice
from hrat.simulation.spice.run import run_chain
from hrat.spec import HardwareSpec

__all__ = ["Spice", "circuit_layers", "linear_chains", "rectified_layers"]


@dataclass(frozen=True, kw_only=True)
class Spice:
    """The circuit of memristors, wires, amplifiers and DACs in ngspice, one operating point for each input or patch.

    Wires are as the spec has them (`array.limit_wires`). Limits: DC, so that nothing is said of settling (see
    `transient`); the converters of inputs and digital operations are ideal steps; one process for each chunk of inputs.
    """

    amplifier: Amplifier = field(default_factory=Amplifier)
    """Read-out amplifiers; `Amplifier(gain=None)` is ideal. Offsets are drawn by its seed and that of the chip."""
    workers: int | None = None
    """Processes at a time; None for as many as there are cores, two at most."""
    time_limit_s: float = 3600.0
    """Longest time of one run of ngspice, s."""
    ngspice: str | None = None
    """The program; None to look for it: HRAT_NGSPICE, the PATH, .ngspice/bin."""
    keep: str | None = None
    """A folder for the netlists and logs of the runs; None to throw them away."""

    name = "spice"

    def __post_init__(self) -> None:
        """Refuse options that cannot be run."""
        if not isinstance(self.amplifier, Amplifier):
            raise CircuitError(
                f"Spice.amplifier: expected an Amplifier, such as Amplifier(gain=1e4), got {self.amplifier!r}"
            )
        if self.workers is not None and self.workers < 1:
            raise CircuitError(f"Spice.workers: expected 1 or more, or None, got {self.workers}")
        if not self.time_limit_s > 0:
            raise CircuitError(f"Spice.time_limit_s: expected a positive number of seconds, got {self.time_limit_s}")

    def making(self, spec: HardwareSpec) -> int:
        """What ngspice takes is memory of another process; see `hrat.simulation.spice.run`."""
        del spec
        return 1

    def models(
        self, chip: ProgrammedChip, names: Sequence[str], device: torch.device, statistics: Statistics
    ) -> dict[str, LayerModel]:
        """A callable for each layer and chip; see `hrat.simulation.solvers.Solver`."""
        del device  # circuits are solved on the CPU
        program = find_ngspice(self.ngspice)  # refused now, not after an hour of other layers
        models_of: dict[str, list[Callable[[Tensor], Tensor]]] = {name: [] for name in names}
        periphery = chip.deployment.spec.periphery
        amplifier_of(self.amplifier, chip.deployment.spec)  # refuses offsets that are given twice
        # What differs from reading to reading depends on a layer's inputs, which have to be known.
        alone = has_reading_errors(chip.deployment.spec.device, periphery)
        for index, seed in enumerate(chip.seeds):
            options = SpiceOptions(
                amplifier=replace(self.amplifier, seed=(self.amplifier.seed << 64) + seed % 2**64),
                workers=self.workers,
                time_limit_s=self.time_limit_s,
                ngspice=program.path,
                keep=None if self.keep is None else Path(self.keep),
            )
            chains = [[name] for name in names] if alone else linear_chains(chip.deployment, names)
            for chain in chains:
                circuit = _Chain(chip, index, chain, options, statistics)
                for place, name in enumerate(chain):
                    models_of[name].append(circuit.outputs_of(place))
        return {name: tuple(models) for name, models in models_of.items()}


def linear_chains(deployment: Deployment, names: Sequence[str]) -> list[list[str]]:
    """Which layers are one circuit: each list holds layers that feed each other directly.

    Args:
        deployment: the deployment of the chip.
        names: the layers to put into circuits.
    """
    nodes = {node.name: node for node in deployment.graph}
    readers = Counter(name for node in deployment.graph for name in node.inputs())
    crossbars = [node for node in deployment.graph if isinstance(node, Crossbar)]
    calls = Counter(node.layer for node in crossbars)
    before: dict[str, str] = {}
    for node in crossbars:
        source = _feeding(node, nodes, readers)
        if source is not None and calls[node.layer] == calls[source.layer] == 1:
            before[node.layer] = source.layer
    fully_connected = {name for name in names if deployment.layers[name].geometry.kind == "linear"}
    chains: list[list[str]] = []
    for name in [node.layer for node in crossbars if node.layer in names]:
        if any(name in chain for chain in chains):
            continue  # a layer that is called twice
        fed_by = before.get(name)
        chain = next((chain for chain in chains if chain[-1] == fed_by), None)
        if chain is not None and {name, fed_by} <= fully_connected and _fits(deployment, chain[-1], name):
            chain.append(name)
        else:
            chains.append([name])
    # The states of recurrences pass converters at each step.
    recurrent = dict.fromkeys(node.layer for node in deployment.graph if isinstance(node, Recurrence))
    return chains + [[name] for name in recurrent if name in names]


def _fits(deployment: Deployment, before: str, name: str) -> bool:
    """Whether outputs become inputs one by one: a flatten in between may join those of several positions."""
    outputs, inputs = (deployment.layers[one].geometry.matrix_shape for one in (before, name))
    return outputs[2] == inputs[1]


def _feeding(node: Node, nodes: dict[str, Node], readers: Counter[str]) -> Crossbar | None:
    """The crossbar whose outputs a node takes with nothing but ReLU and layout between, and nobody else."""
    source = nodes[node.inputs()[0]]
    while _passes_on(source) and readers[source.name] == 1:
        source = nodes[source.inputs()[0]]
    return source if isinstance(source, Crossbar) and readers[source.name] == 1 else None


def _passes_on(node: Node) -> bool:
    """Whether a node may lie between two layers of one circuit: values in their order, or rectified."""
    return isinstance(node, OpNode) and (OPS[node.operation].keeps_order or OPS[node.operation].rectifies)


def _is_rectifier(node: Node) -> bool:
    return isinstance(node, OpNode) and OPS[node.operation].rectifies


def circuit_layers(
    chip: ProgrammedChip, index: int, chain: Sequence[str], group: int = 0, grid_row: int | None = None
) -> list[CircuitLayer]:
    """The layers of a chain as circuits.

    Args:
        chip: one or several chips.
        index: which of them.
        chain: names of layers that feed each other, as `linear_chains` returns them.
        group: which group of a grouped convolution.
        grid_row: of a layer whose tiles have ADCs of their own, which of the tiles above one another: it is a circuit
            of its own, without the bias, which is digital.

    Raises:
        CircuitError: `grid_row` is missing, or there is no such one.
    """
    deployment = chip.deployment
    spec = deployment.spec
    low_V, high_V = amplifier_limits_V(spec.periphery)
    read_V = spec.device.v_read_V if spec.device.limit_read_voltage else math.inf
    rectified = rectified_layers(deployment)
    layers: list[CircuitLayer] = []
    taken: set[str] = set()
    for name in chain:
        layer, programmed = deployment.layers[name], chip.layers[name]
        cols = layer.geometry.matrix_shape[2]
        own_V = chip.bias_V(name, index)
        bias_V = None if own_V is None else _numbers(own_V[group * cols : (group + 1) * cols])
        circuit_name = name if layer.geometry.groups == 1 else f"{name}_group{group}"
        lines = slice(None)
        if layer.tile_adc_V is not None or grid_row is not None:
            lines, bias_V = _lines_of(layer, grid_row, spec), None
            circuit_name = f"{circuit_name}_row{grid_row}"
        circuit = CircuitLayer(
            name=circuit_name,
            g_pos_S=_numbers(programmed.g_pos_S[index, group, lines]),
            g_neg_S=_numbers(programmed.g_neg_S[index, group, lines]),
            row_inputs=None if layer.row_inputs is None else tuple(layer.row_inputs[group].tolist()),
            col_outputs=None if layer.col_outputs is None else tuple(layer.col_outputs[group].tolist()),
            r_f_ohm=layer.r_f_ohm,
            bias_V=bias_V,
            low_V=low_V,
            high_V=high_V,
            clamp_V=read_V,
            rectifies=name in rectified,
            floor_V=relu_floor_V(spec.periphery),
            amplifiers=_amplifiers(chip, index, name, group, grid_row),
        )
        while circuit.node in taken:  # `fc.1` and `fc_1` are one name where letters and digits alone count
            circuit = replace(circuit, name=f"{circuit.name}_twin")
        taken.add(circuit.node)
        layers.append(circuit)
    return layers


def _amplifiers(
    chip: ProgrammedChip, index: int, name: str, group: int, grid_row: int | None
) -> tuple[tuple[Floats, Floats], ...]:
    """Offsets and errors of feedback resistors of the amplifiers of one group, and of one row of tiles, by term."""
    groups = chip.deployment.layers[name].geometry.groups
    of_terms = []
    for own in chip.amplifiers(name, index):
        offset_V, r_f_error = (part[grid_row or 0].unflatten(0, (groups, -1))[group] for part in own)
        of_terms.append((_numbers(offset_V), _numbers(r_f_error)))
    return tuple(of_terms)


def _lines_of(layer: DeployedLayer, grid_row: int | None, spec: HardwareSpec) -> slice:
    """The word lines of the tiles in one row of the grid."""
    count = 0 if layer.tile_adc_V is None else len(layer.tile_adc_V)
    if grid_row is None or not 0 <= grid_row < count:
        raise CircuitError(
            f"layer '{layer.name}': {count} rows of tiles with ADCs of their own are so many circuits; expected "
            f"grid_row to say which, got {grid_row}"
        )
    return slice(grid_row * spec.array.rows, (grid_row + 1) * spec.array.rows)


def rectified_layers(deployment: Deployment) -> set[str]:
    """Layers whose outputs go to a ReLU and nowhere else: their amplifiers may have a single supply."""
    nodes = {node.name: node for node in deployment.graph}
    readers = Counter(name for node in deployment.graph for name in node.inputs())
    feeding = [_feeding(node, nodes, readers) for node in deployment.graph if _is_rectifier(node)]
    # One set of amplifiers serves all calls of a layer: each of them has to be rectified, by however many ReLUs.
    calls = Counter(node.layer for node in deployment.graph if isinstance(node, Crossbar))
    rectified = Counter({node.name: node.layer for node in feeding if node is not None}.values())
    return {layer for layer, count in rectified.items() if count == calls[layer]}


class _Chain:
    """A circuit of one or several layers of a chip. The first layer runs it; the others return its results."""

    def __init__(
        self, chip: ProgrammedChip, index: int, chain: list[str], options: SpiceOptions, statistics: Statistics
    ) -> None:
        self.spec = chip.deployment.spec
        self.geometry = chip.deployment.layers[chain[0]].geometry
        self.names = chain
        self.options = options
        self.told = statistics.setdefault(chain[0], {})
        self.layer = chip.deployment.layers[chain[0]]
        self.bias_V = chip.bias_V(chain[0], index)
        rows = [None] if self.layer.tile_adc_V is None else list(range(len(self.layer.tile_adc_V)))
        self.circuits = [
            [circuit_layers(chip, index, chain, group, row) for row in rows] for group in range(self.geometry.groups)
        ]
        self.waiting: dict[int, Tensor] = {}
        self.readout = LayerReadout.of(self.geometry, self.spec)
        programmed = chip.layers[chain[0]]
        g_S = (programmed.g_pos_S[index : index + 1].double(), programmed.g_neg_S[index : index + 1].double())
        self.errors = linear_model(chip[index], chain[0], g_S).of_chip(0).errors

    def outputs_of(self, place: int) -> Callable[..., Tensor]:
        """Function of a layer of the chain: word-line voltages -> amplifier outputs, V."""
        return self._run if place == 0 else lambda voltage_V: self._handed_out(place, voltage_V)

    def _readings(self, voltage_V: Tensor, draw: Draw | None) -> list[list[Readings]]:
        """What differs from reading to reading, for each group and each row of tiles with ADCs of its own."""
        groups, n_sums = self.geometry.groups, self.readout.n_sums
        if draw is None:
            return [[Readings()] * n_sums for _ in range(groups)]
        errors = self.errors[0]

        def by_line(values: Tensor) -> list[list[Floats]]:
            """Voltages of a term's amplifiers -> `(points, count)` of each group and sum."""
            of_sums = values if self.readout.tiles is not None else values.unsqueeze(0)
            if self.geometry.kind == "linear":
                lines = of_sums.reshape(n_sums, 1, -1, of_sums.shape[-1])
            else:
                lines = of_sums.flatten(3).unflatten(2, (groups, -1)).permute(0, 2, 1, 4, 3).flatten(2, 3)
            return [[_numbers(lines[k, group]) for k in range(n_sums)] for group in range(groups)]

        inputs, currents = [], []
        for term, part in enumerate(self.readout.term_geometries):
            out = part.apply(voltage_V, voltage_V.new_zeros(part.weight_shape))
            like = out if self.readout.tiles is None else out.expand(n_sums, *out.shape)
            if input_noise_V(self.spec.periphery):
                inputs.append(by_line(self.readout.amplifier_noise_V(term, like, draw)))
            if errors.squares:
                noise_V = self.readout.device_noise_V(term, conducting_V(voltage_V, self.spec.device), errors)
                noise_V = noise_V * self.readout.device_numbers(term, like, draw)
                currents.append(by_line(noise_V / -self.layer.r_f_ohm))  # amplifiers invert
        return [
            [
                Readings(
                    inputs_V=tuple(of_term[group][k] for of_term in inputs),
                    currents_A=tuple(of_term[group][k] for of_term in currents),
                )
                for k in range(n_sums)
            ]
            for group in range(groups)
        ]

    def _run(self, voltage_V: Tensor, draw: Draw | None = None) -> Tensor:
        patches = self.geometry.patches(voltage_V.double().cpu())  # (images, groups, rows, positions)
        n_images, _, n_rows, n_positions = patches.shape
        of_groups: list[list[Tensor]] = []
        readings = self._readings(voltage_V.double().cpu(), draw)
        for group, of_tiles in enumerate(self.circuits):
            inputs_V = patches[:, group].mT.reshape(-1, n_rows)
            if self.layer.tile_adc_V is None:
                of_groups.append(self._solve(of_tiles[0], inputs_V, readings[group][0]))
            else:
                sum_V = self._digital_sum(of_tiles, inputs_V, self.layer.tile_adc_V, group, readings[group])
                of_groups.append([sum_V])
        lines_V = torch.stack([outputs[0] for outputs in of_groups])  # (groups, images * positions, cols)
        self.waiting = {place: of_groups[0][place] for place in range(1, len(self.names))}
        split = lines_V.unflatten(1, (n_images, n_positions)).permute(1, 0, 3, 2)  # (images, groups, cols, positions)
        return self.geometry.from_lines(split, voltage_V)

    def _solve(self, circuit: list[CircuitLayer], inputs_V: Tensor, readings: Readings) -> list[Tensor]:
        """Outputs of each layer of a circuit, `(points, cols)`, V."""
        result = run_chain(circuit, self.spec, inputs_V.numpy(), self.options, readings=[readings])
        if result.failure is not None:
            raise SolverError(f"{', '.join(self.names)}: {result.failure}") from result.failure
        self._tell(result.seconds, len(inputs_V))
        return [torch.from_numpy(np.ascontiguousarray(out_V)) for out_V in result.outputs]

    def _digital_sum(
        self,
        of_tiles: list[list[CircuitLayer]],
        inputs_V: Tensor,
        full_scale_V: Tensor,
        group: int,
        readings: list[Readings],
    ) -> Tensor:
        """Each row of tiles is a circuit; their ADCs, the sum and the bias are digital."""
        parts = inputs_V.split(self.spec.array.rows, dim=1)
        partial_V = torch.stack([self._solve(*of_tile)[0] for of_tile in zip(of_tiles, parts, readings, strict=True)])
        sum_V = digital_sum(partial_V, full_scale_V.to(partial_V), self.spec.periphery)
        if self.bias_V is None:
            return sum_V
        cols = self.geometry.matrix_shape[2]
        return sum_V + self.bias_V[group * cols : (group + 1) * cols].to(sum_V)

    def _handed_out(self, place: int, voltage_V: Tensor) -> Tensor:
        out_V = self.waiting.pop(place)
        return out_V.reshape(*voltage_V.shape[:-1], -1)

    def _tell(self, seconds: float, n_points: int) -> None:
        self.told["seconds"] = self.told.get("seconds", 0.0) + seconds
        self.told["operating_points"] = self.told.get("operating_points", 0) + n_points


def _numbers(x: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return x.detach().double().cpu().numpy()
