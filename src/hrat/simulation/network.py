"""The network of a chip, worked through layer by layer, each layer at its own depth.

Each layer is `v_out = clamp_swing(amplifier(v_in))`, with `v_in` held within the read threshold; what the array and its
amplifiers make of the word lines' voltages is the matter of a solver (`hrat.simulation.solvers`). Nothing of training
is used. Where the two clamps are done, `hrat.circuit.clamps` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from hrat.artifacts import Deployment, ProgrammedChip
from hrat.circuit import (
    OPS,
    Adc,
    Amplifier,
    Constant,
    Dac,
    Input,
    Node,
    OpNode,
    Output,
    OutputRescale,
    PlannedNode,
    Recurrence,
    Ref,
    TensorKey,
    Within,
    layer_of,
    make_plan,
    map_nested,
    through_time,
)
from hrat.encoding import LayerReadout
from hrat.errors import HratError
from hrat.physics import amplifier_limits_V, digital_value, input_voltage, to_digital_units
from hrat.simulation.behavioural import Behavioural
from hrat.simulation.limits import check_value, computed, most_bytes
from hrat.simulation.memory import Footprint
from hrat.simulation.nested import bytes_of, changed, first_tensor, stacked, tensors_of
from hrat.simulation.solvers import LayerModel, Solver, SolverError

__all__ = ["ChipSolver"]

Gain = tuple[Tensor, ...] | Callable[[Tensor], Tensor]
"""`(R_f (G+ - G-),)`, `(R_f G+, R_f G-)` where both pass amplifiers of their own, or what solves the layer."""
Gains = dict[str, Gain]
"""Gain of each layer, by its name."""
Record = Mapping[str, Callable[[Tensor], None]]
"""Layer of interest -> function to call with its amplifier outputs."""
Values = dict[str, Any]
"""Results of nodes that are still needed, by the nodes' names."""
Watch = Callable[[str, Values], None]
"""Called after each node with its name and all values."""


class ChipSolver:
    """Solver of whole chips: arrays are solved once at its creation, then `compute` serves many inputs."""

    def __init__(
        self,
        chip: ProgrammedChip,
        *,
        solvers: Mapping[str, Solver] | None = None,
        device: torch.device | str = "cpu",
        together: bool | None = None,
        throw: bool = True,
    ) -> None:
        """Solve the arrays, as far as that can be done before inputs are known, and turn the graph into steps.

        Args:
            chip: one or several chips.
            solvers: the solver of each layer by its name; the behavioural one for layers that are not named.
            device: where to compute.
            together: whether all chips pass each operation at the same time. Not on a CPU unless asked for: one chip
                after the other keeps its caches warm, and 20 LeNet-5 chips at once would take it twice as long.
            throw: False to go on where a layer of a chip cannot be solved: its outputs are not numbers from there on,
                and `failures` says why.

        Raises:
            SolverError: a layer cannot be solved, and `throw` is on.
        """
        self.deployment = chip.deployment
        self.device = torch.device(device)
        self.n_chips = chip.n_chips
        self.throw = throw
        self.failures: dict[int, str] = {}
        """Why a chip has no result, by its place among the chips."""
        self.statistics: dict[str, dict[str, float]] = {}
        """Statistics of each layer by its solver."""
        self.gains = self._models(chip, solvers or {})
        self._gains_of = [
            {name: self._gain_of(name, model, index) for name, model in self.gains.items()}
            for index in range(chip.n_chips)
        ]
        only_gains = all(isinstance(part, Tensor) for model in self.gains.values() for part in model)
        self.together = only_gains and (_is_better_together(self.device) if together is None else together)
        self._circuit = _Circuit(chip.deployment, self.device, self.together)
        self._steps = self._circuit.steps(merge=True)
        self._layer_at = {node.name: layer for node in chip.deployment.graph if (layer := layer_of(node)) is not None}

    def _models(self, chip: ProgrammedChip, solvers: Mapping[str, Solver]) -> dict[str, LayerModel]:
        """The layers, those of one solver together."""
        solver_by_layer = {name: solvers.get(name, _BEHAVIOURAL) for name in chip.layers}
        models: dict[str, LayerModel] = {}
        for solver in dict.fromkeys(solver_by_layer.values()):
            names = [name for name in chip.layers if solver_by_layer[name] == solver]
            try:
                models.update(solver.models(chip, names, self.device, self.statistics))
            except SolverError as error:
                if self.throw:
                    raise
                models.update(dict.fromkeys(names, (partial(_fail, error),) * chip.n_chips))
        return models

    def _gain_of(self, name: str, model: LayerModel, index: int) -> Gain:
        """Gain or solver of one layer on one chip."""
        if any(isinstance(part, Tensor) for part in model):
            return tuple(part[index] for part in model)  # type: ignore[index]
        solve: Callable[[Tensor], Tensor] = model[index]  # type: ignore[assignment]
        geometry, dtype = self.deployment.layers[name].geometry, self.deployment.layers[name].g_pos_S.dtype
        nothing = torch.empty(geometry.weight_shape, device="meta")

        def guarded(voltage_V: Tensor) -> Tensor:
            # Once a chip has failed, there is nothing more to find out.
            if index not in self.failures:
                try:
                    return solve(voltage_V).to(device=self.device, dtype=dtype)
                except SolverError as error:
                    if self.throw:
                        raise
                    self.failures[index] = str(error)
            shape = geometry.apply(voltage_V.to("meta", nothing.dtype), nothing).shape
            return torch.full(shape, math.nan, dtype=dtype, device=self.device)

        return guarded

    @cached_property
    def _steps_with_voltages(self) -> tuple[list[_Step], list[_Step]]:
        """The steps at which every amplifier's output is a value of its own."""
        return self._circuit.steps(merge=False)

    def compute(self, inputs: Mapping[str, Any], *, record: Record | None = None) -> Any:
        """Outputs of every chip.

        Args:
            inputs: the network's arguments by name; tensors `(images, ...)`.
            record: for each layer of interest a function to call with its amplifier outputs `(chips, images, ...)`, V.

        Returns:
            What the network returns, each tensor `(chips, images, ...)`.
        """
        record = record or {}
        for_all, for_each = self._steps_with_voltages if record else self._steps
        common = self._arguments(inputs)
        _run(for_all, common, {})

        def one(gains: Gains) -> tuple[Any, dict[str, Tensor]]:
            voltages_V: dict[str, Tensor] = {}

            def note(name: str, values: Values) -> None:
                if self._layer_at.get(name) in record:
                    voltages_V[self._layer_at[name]] = _voltages_in(values[name])

            return _run(for_each, dict(common), gains, note if record else None), voltages_V

        if self.together:
            out, recorded = torch.vmap(one)(cast(Gains, self.gains))
        else:
            out, recorded = stacked([one(gains) for gains in self._gains_of])
        for layer, voltage_V in recorded.items():
            record[layer](voltage_V)
        return out

    @classmethod
    def footprint(
        cls,
        chip: ProgrammedChip,
        inputs: Mapping[str, Any],
        *,
        solvers: Mapping[str, Solver] | None = None,
        device: torch.device | str = "cpu",
        voltages_of: Sequence[str] = (),
    ) -> Footprint:
        """Memory that one of the chips takes, from a run on tensors that have shapes and no memory."""
        probe = cls(chip[0], device="meta")
        for_all, for_each = probe._steps_with_voltages if voltages_of else probe._steps
        values = probe._arguments(changed(dict(inputs), lambda tensor: tensor.to("meta")))
        n_images = first_tensor(values).shape[0]
        at_work, voltages = [0], {}
        most = most_bytes(values, probe.gains, chip.deployment.tensors)

        def weigh(name: str, values: Values) -> None:
            check_value(name, values[name], most)
            at_work.append(bytes_of(values) + probe._workspace(name, values))
            if probe._layer_at.get(name) in voltages_of:
                voltages[name] = bytes_of(_voltages_in(values[name]))

        out = _run(for_all + for_each, values, probe._gains_of[0], weigh)
        gains = {name: bytes_of(gain) for name, gain in probe.gains.items()}
        spec = chip.deployment.spec
        making = {name: (solvers or {}).get(name, _BEHAVIOURAL).making(spec) for name in gains}
        return Footprint(
            gains=sum(gains.values()),
            making=max((gains[name] * making[name] for name in gains), default=0),
            signals=-(-max(at_work) // n_images),
            outputs=-(-bytes_of(out) // n_images),
            voltages=-(-sum(voltages.values()) // n_images),
            together=_is_better_together(torch.device(device)),
        )

    @classmethod
    def sizes(cls, chip: ProgrammedChip, inputs: Mapping[str, Any]) -> dict[str, int]:
        """Numbers that each node of the graph yields for an input, from a run on tensors that have no memory."""
        probe = cls(chip[0], device="meta")
        for_all, for_each = probe._steps_with_voltages
        values = probe._arguments(changed(dict(inputs), lambda tensor: tensor.to("meta")))
        n_images = first_tensor(values).shape[0]
        numbers: dict[str, int] = {}
        most = most_bytes(values, probe.gains, chip.deployment.tensors)

        def count(name: str, values: Values) -> None:
            check_value(name, values[name], most)
            numbers[name] = sum(tensor.numel() for tensor in tensors_of(values[name])) // n_images

        _run(for_all + for_each, values, probe._gains_of[0], count)
        return numbers

    def _workspace(self, name: str, values: Values) -> int:
        """Bytes that a convolution takes beside its input and output, as measured on a CPU."""
        layer = self._layer_at.get(name.removesuffix(".amplifier"))
        if layer is None or not name.endswith(".amplifier"):
            return 0
        if layer in self._circuit.summed:  # partial sums, and what becomes of them in three steps
            return 4 * self._circuit.readouts[layer].n_sums * bytes_of(values[name])
        if not self.deployment.layers[layer].geometry.dims:
            return 0
        if values[name].dtype != torch.float64:
            return bytes_of(values)  # both in layouts that suit the processor
        rows = math.prod(self.deployment.layers[layer].geometry.matrix_shape[:2])
        return rows * bytes_of(values[name][:, 0])  # all patches, lined up

    def _arguments(self, inputs: Mapping[str, Any]) -> Values:
        """The network's arguments by the names of their nodes."""
        values = {}
        for node in self.deployment.graph:
            if isinstance(node, Input):
                name = node.argument
                if name not in inputs and not node.default:
                    raise HratError(f"the network's input '{name}' is missing; got {', '.join(inputs) or 'none'}")
                values[node.name] = inputs[name] if name in inputs else node.default[0]
        return values


class _Circuit:
    """What all chips of a deployment share, and what each node of the graph does with it.

    It knows no gains: whoever drops a solver gets their memory back at once.
    """

    def __init__(self, deployment: Deployment, device: torch.device, together: bool) -> None:
        self.deployment = deployment
        self.device = device
        self.together = together
        self.tensors = {key: value.to(device) for key, value in deployment.tensors.items()}
        self.biases_V = {
            name: None if layer.bias_V is None else layer.bias_V.to(device) for name, layer in deployment.layers.items()
        }
        self.full_scales_V = {
            name: None if layer.tile_adc_V is None else layer.tile_adc_V.to(device)
            for name, layer in deployment.layers.items()
        }
        self.readouts = {
            name: LayerReadout.of(layer.geometry, deployment.spec) for name, layer in deployment.layers.items()
        }
        self.summed = {name for name, readout in self.readouts.items() if readout.tiles is not None}
        """Layers whose tiles have ADCs of their own."""

    def _crossbar(self, layer: str, gain: Gain, voltage: Tensor) -> Tensor:
        """Word-line voltages -> amplifier outputs without the limit of a swing, V."""
        if not isinstance(gain, tuple):
            return gain(voltage)
        full_scale_V, bias_V = self.full_scales_V[layer], self.biases_V[layer]
        return self.readouts[layer].volts(voltage, gain, full_scale_V=full_scale_V, bias_V=bias_V)

    def steps(self, *, merge: bool) -> tuple[list[_Step], list[_Step]]:
        """The steps that are taken once for all chips, and those that are taken for each."""
        plan = make_plan(self.deployment.graph, self.deployment.spec, merge=merge, summed=self.summed)
        for_all, for_each = (
            [_Step(p.node.name, self._runner(p, keep=not merge), p.ends) for p in part if not isinstance(p.node, Input)]
            for part in (plan.for_all, plan.for_each)
        )
        return for_all, for_each

    def _runner(self, planned: PlannedNode, *, keep: bool) -> Callable[[Values, Gains], Any]:
        """Function that computes a node; all that is known before the first batch is looked up here."""
        match planned.node:
            case Recurrence() as node:
                return self._recurrence(node, keep)
            case Amplifier(source=source, layer=layer):
                return lambda values, gains: self._crossbar(layer, gains[layer], values[source.name])
            case OpNode() as node:
                return self._operation(node)
            case node:
                return _calls(*self._part(node, in_place=planned.overwrites and not self.together), {})

    def _operation(self, node: OpNode) -> Callable[[Values, Gains], Any]:
        op = OPS[node.operation]
        args, kwargs = map_nested((node.args, dict(node.kwargs)), self._here)
        if op.factory and kwargs.get("device") is None:
            kwargs["device"] = self.device
        return _calls(op.function, args, kwargs)

    def _part(self, node: Node, *, in_place: bool) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Function of a part of the circuit, and its arguments."""
        spec = self.deployment.spec
        match node:
            case Within(source=source, low=low, high=high):
                return (_hold_in_place if in_place else _hold), (source, low, high)
            case Dac(source=source, alpha=alpha):
                return partial(input_voltage, device=spec.device, periphery=spec.periphery), (
                    source,
                    self.tensors[alpha.key],
                )
            case Adc(source=source, alpha=alpha):
                return partial(digital_value, periphery=spec.periphery), (source, self.tensors[alpha.key])
            case OutputRescale(source=source, alpha=alpha):
                return to_digital_units, (source, self.tensors[alpha.key])
            case Constant(tensor=tensor):
                return _as_it_is, (self.tensors[tensor.key],)
            case Output(value=value):
                return _as_it_is, (map_nested(value, self._here),)
            case _:
                raise HratError(f"node '{node.name}' ({node.op}) has no part in a simulation")

    def _here(self, arg: Any) -> Any:
        """A tensor for its key, and the device where all is computed for the one that the network was traced on."""
        if isinstance(arg, TensorKey):
            return self.tensors[arg.key]
        return self.device if isinstance(arg, torch.device) else arg

    def _recurrence(self, node: Recurrence, keep: bool) -> Callable[[Values, Gains], Any]:
        """A recurrent layer, its state digital between the steps; `keep` to have its amplifiers' outputs as well."""
        spec, layer = self.deployment.spec, node.layer
        alpha_in, alpha_out = self.tensors[node.alpha_state.key], self.tensors[node.alpha_product.key]
        summed = layer in self.summed
        swing_V = (-math.inf, math.inf) if summed else amplifier_limits_V(spec.periphery)

        def run(values: Values, gains: Gains) -> Any:
            steps_V: list[Tensor] = []

            def product(state: Tensor) -> Tensor:
                voltage_V = self._crossbar(
                    layer, gains[layer], input_voltage(state, alpha_in, spec.device, spec.periphery)
                )
                steps_V.append(voltage_V.clamp(*swing_V))
                last_V = steps_V[-1] if keep else steps_V.pop()
                if summed:
                    return to_digital_units(last_V, alpha_out)
                return digital_value(last_V, alpha_out, spec.periphery)

            now = [None if state is None else values[state.name] for state in node.states]
            signal = values[node.source.name]
            results = through_time(node.kind, signal, now, product, time_dim=node.time_dim, reverse=node.reverse)
            if keep and node.reverse:
                steps_V.reverse()
            return (*results, torch.stack(steps_V, dim=node.time_dim)) if keep else results

        return run


_BEHAVIOURAL: Solver = Behavioural()


def _calls(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Callable[[Values, Gains], Any]:
    """A call of a function, the results of other nodes put in where they are named."""
    if args and isinstance(args[0], Ref) and not _names_nodes((args[1:], kwargs)):
        source, rest = args[0].name, args[1:]
        return lambda values, _: function(values[source], *rest, **kwargs)

    def call(values: Values, _: Gains) -> Any:
        now = map_nested((args, kwargs), lambda arg: values[arg.name] if isinstance(arg, Ref) else arg)
        return function(*now[0], **now[1])

    return call


def _names_nodes(nested: Any) -> bool:
    """Whether the result of some node is among nested values."""
    named: list[Ref] = []
    map_nested(nested, lambda arg: named.append(arg) if isinstance(arg, Ref) else None)
    return bool(named)


def _voltages_in(value: Any) -> Tensor:
    """The amplifiers' outputs in what a node with a layer yields: a recurrence has them last."""
    return cast(Tensor, value[-1] if isinstance(value, tuple) else value)


def _fail(error: SolverError, voltage_V: Tensor) -> Tensor:
    """Raise the error of a layer that could not be set up."""
    del voltage_V
    raise error


def _is_better_together(device: torch.device) -> bool:
    """Whether operations take less time than their launch, so that several chips should share them."""
    return device.type not in ("cpu", "meta")


@dataclass(frozen=True, slots=True)
class _Step:
    """A node of the plan, ready to run."""

    name: str
    run: Callable[[Values, Gains], Any]
    ends: tuple[str, ...]
    """Values that no later step reads."""


def _run(steps: list[_Step], values: Values, gains: Gains, watch: Watch | None = None) -> Any:
    """Run the steps, keeping values that are still needed in `values`; returns the result of the last one."""
    out = None
    for step in steps:
        out = values[step.name] = computed(step.name, partial(step.run, values, gains))
        if not isinstance(out, Tensor):
            check_value(step.name, out)
        if watch is not None:
            watch(step.name, values)
        for name in step.ends:
            del values[name]
    return out


def _hold(value: Tensor, low: float, high: float) -> Tensor:
    """A tensor clamped to `[low, high]`."""
    return F.relu(value) if (low, high) == (0.0, math.inf) else value.clamp(low, high)


def _hold_in_place(value: Tensor, low: float, high: float) -> Tensor:
    return value.clamp_(low, high)


def _as_it_is(value: Any) -> Any:
    return value
