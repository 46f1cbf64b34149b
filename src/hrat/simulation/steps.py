"""A chip's graph as steps: what each node does with values, looked up once before the first batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hrat.artifacts import Deployment
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
    make_plan,
    map_nested,
    through_time,
)
from hrat.encoding import LayerReadout
from hrat.errors import HratError
from hrat.physics import amplifier_limits_V, conducting_V, digital_value, input_voltage, to_digital_units
from hrat.simulation.limits import check_value, computed
from hrat.simulation.solvers import LinearModel

__all__ = ["ChipSteps", "Gain", "Gains", "Step", "Values", "Watch", "take"]

Gain = LinearModel | Callable[[Tensor], Tensor]
"""A linear layer of one chip, or what solves the layer."""
Gains = dict[str, Gain]
"""Of each layer."""
Values = dict[str, Any]
"""Results of nodes that are still needed, by the nodes' names."""
Watch = Callable[[str, Values], None]
"""Called behind each node with its name and all values."""


class ChipSteps:
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
        if not isinstance(gain, LinearModel):
            return gain(voltage)
        return self.readouts[layer].volts(
            conducting_V(voltage, self.deployment.spec.device),
            gain.gains,
            full_scale_V=self.full_scales_V[layer],
            bias_V=gain.bias_V[0] if gain.bias_V else self.biases_V[layer],
            errors=gain.errors[0] if gain.errors else None,
            draw=gain.draw[0] if gain.draw else None,
        )

    def steps(self, *, merge: bool) -> tuple[list[Step], list[Step]]:
        """The steps that are taken once for all chips, and those that are taken for each."""
        plan = make_plan(self.deployment.graph, self.deployment.spec, merge=merge, summed=self.summed)
        for_all, for_each = (
            [Step(p.node.name, self._runner(p, keep=not merge), p.ends) for p in part if not isinstance(p.node, Input)]
            for part in (plan.for_all, plan.for_each)
        )
        return for_all, for_each

    def _runner(self, planned: PlannedNode, *, keep: bool) -> Callable[[Values, Gains], Any]:
        """What a node does; all that can be known before the first batch is looked up here."""
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
        """What a part of the circuit does, and its arguments."""
        match node:
            case Within(source=source, low=low, high=high):
                return (_hold_in_place if in_place else _hold), (source, low, high)
            case Dac(source=source, alpha=alpha):
                return self._to_volts, (source, self.tensors[alpha.key])
            case Adc(source=source, alpha=alpha):
                return self._to_digital, (source, self.tensors[alpha.key])
            case OutputRescale(source=source, alpha=alpha):
                return self._rescaled, (source, self.tensors[alpha.key])
            case Constant(tensor=tensor):
                return _as_it_is, (self.tensors[tensor.key],)
            case Output(value=value):
                return _as_it_is, (map_nested(value, self._here),)
            case _:
                raise HratError(f"node '{node.name}' ({node.op}) has no part in a simulation")

    def _to_volts(self, x: Tensor, alpha: Tensor) -> Tensor:
        """A DAC: digital values of any number type -> V in that of the conductances."""
        spec = self.deployment.spec
        return input_voltage(x.to(alpha.dtype), alpha, spec.device, spec.periphery)

    def _to_digital(self, voltage_V: Tensor, alpha: Tensor) -> Tensor:
        """An ADC: V -> digital values in the number type of the network."""
        return self._in_digital_type(digital_value(voltage_V, alpha, self.deployment.spec.periphery))

    def _rescaled(self, voltage_V: Tensor, alpha: Tensor) -> Tensor:
        return self._in_digital_type(to_digital_units(voltage_V, alpha))

    def _in_digital_type(self, value: Tensor) -> Tensor:
        return value.to(self.deployment.digital_type) if self.deployment.number_type else value

    def _here(self, arg: Any) -> Any:
        """A tensor for its key, and the device where all is computed for the one that the network was traced on."""
        if isinstance(arg, TensorKey):
            return self.tensors[arg.key]
        return self.device if isinstance(arg, torch.device) else arg

    def _recurrence(self, node: Recurrence, keep: bool) -> Callable[[Values, Gains], Any]:
        """A recurrent layer, its state digital between the steps; `keep` to have its amplifiers' outputs as well."""
        layer = node.layer
        alpha_in, alpha_out = self.tensors[node.alpha_state.key], self.tensors[node.alpha_product.key]
        summed = layer in self.summed
        swing_V = (-math.inf, math.inf) if summed else amplifier_limits_V(self.deployment.spec.periphery)

        def run(values: Values, gains: Gains) -> Any:
            steps_V: list[Tensor] = []

            def product(state: Tensor) -> Tensor:
                voltage_V = self._crossbar(layer, gains[layer], self._to_volts(state, alpha_in))
                steps_V.append(voltage_V.clamp(*swing_V))
                last_V = steps_V[-1] if keep else steps_V.pop()
                return self._rescaled(last_V, alpha_out) if summed else self._to_digital(last_V, alpha_out)

            now = [None if state is None else values[state.name] for state in node.states]
            signal = values[node.source.name]
            results = through_time(node.kind, signal, now, product, time_dim=node.time_dim, reverse=node.reverse)
            if keep and node.reverse:
                steps_V.reverse()
            return (*results, torch.stack(steps_V, dim=node.time_dim)) if keep else results

        return run


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


@dataclass(frozen=True, slots=True)
class Step:
    """A node of the plan, ready to run."""

    name: str
    run: Callable[[Values, Gains], Any]
    ends: tuple[str, ...]
    """Values that no later step reads."""


def take(steps: list[Step], values: Values, gains: Gains, watch: Watch | None = None) -> Any:
    """Take the steps, adding to `values` what is needed further on; returns what the last one yields."""
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
    """A value held within `[low, high]`."""
    return F.relu(value) if (low, high) == (0.0, math.inf) else value.clamp(low, high)


def _hold_in_place(value: Tensor, low: float, high: float) -> Tensor:
    return value.clamp_(low, high)


def _as_it_is(value: Any) -> Any:
    return value
