"""Behavioural solution: ideal wires, ideal amplifiers within their swing.

Each layer is `v_out = clamp_swing(R_f (G+ - G-)^T v_in + V_bias)`, with `v_in` held within the read threshold. The
conductances are those of the programmed devices; nothing of training is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from hrat.artifacts import ProgrammedChip
from hrat.artifacts.graph import OpNode, Ref, TensorKey, map_nested
from hrat.artifacts.ops import OPS
from hrat.errors import ArtifactError, HratError
from hrat.physics import clamp_to, input_voltage, island_value, normal_scale

__all__ = ["BehaviouralSolver"]

Gains = dict[str, tuple[Tensor, ...]]
"""Of each layer `(R_f (G+ - G-),)`, or `(R_f G+, R_f G-)` where both pass amplifiers of their own."""


class BehaviouralSolver:
    """Made once from the chips (`init`), then asked many times (`compute`)."""

    name = "behavioural"

    def __init__(self, chip: ProgrammedChip, *, device: torch.device | str = "cpu") -> None:
        """Turn conductances into gains, once."""
        self.deployment = chip.deployment
        self.device = torch.device(device)
        self.n_chips = chip.n_chips
        self.gains: Gains = {name: self._gain(chip, name) for name in chip.layers}
        self.tensors = {key: value.to(self.device) for key, value in chip.deployment.tensors.items()}
        self.biases_V = {
            name: None if layer.bias_V is None else layer.geometry.channel_view(layer.bias_V.to(self.device))
            for name, layer in chip.deployment.layers.items()
        }
        self._last_use = _last_uses(chip.deployment.graph)
        # Matrix products of several chips go well together. Convolutions on a CPU do not: their signals no longer fit
        # into its caches, and 20 LeNet-5 chips at once take twice as long as one after the other.
        only_linear = all(layer.geometry.kind == "linear" for layer in chip.deployment.layers.values())
        self.vectorised = chip.n_chips > 1 and (only_linear or self.device.type != "cpu")

    def compute(self, inputs: Mapping[str, Any], *, record: Callable[[str, Tensor], None] | None = None) -> Any:
        """Outputs of every chip.

        Args:
            inputs: the network's arguments by name; tensors `(images, ...)`.
            record: called with the name of each layer and its amplifier outputs `(chips, images, ...)`, V.

        Returns:
            What the network returns, each tensor `(chips, images, ...)`.
        """

        def one(gains: Gains) -> tuple[Any, dict[str, Tensor]]:
            seen: dict[str, Tensor] = {}
            return self._run(gains, inputs, seen if record else None), seen

        if self.vectorised:
            out, recorded = torch.vmap(one)(self.gains)
        else:
            parts = [
                one({name: tuple(g[k] for g in gain) for name, gain in self.gains.items()}) for k in range(self.n_chips)
            ]
            out, recorded = stack_nested(parts)
        if record is not None:
            for name, voltage in recorded.items():
                record(name, voltage)
        return out

    def _gain(self, chip: ProgrammedChip, name: str) -> tuple[Tensor, ...]:
        layer, programmed = chip.deployment.layers[name], chip.layers[name]
        g_pos_S, g_neg_S = programmed.g_pos_S.to(self.device), programmed.g_neg_S.to(self.device)
        to_weight = torch.vmap(layer.geometry.from_matrix)
        if chip.deployment.spec.periphery.readout == "two_stage":
            return tuple((to_weight(g_S) * layer.r_f_ohm).contiguous() for g_S in (g_pos_S, g_neg_S))
        return ((to_weight(g_pos_S - g_neg_S) * layer.r_f_ohm).contiguous(),)

    # ---- one chip ----------------------------------------------------------------------------------------------

    def _run(self, gains: Gains, inputs: Mapping[str, Any], seen: dict[str, Tensor] | None) -> Any:
        values: dict[str, Any] = {}

        def resolve(value: Any) -> Any:
            if isinstance(value, Ref):
                return values[value.name]
            return self.tensors[value.key] if isinstance(value, TensorKey) else value

        for step, node in enumerate(self.deployment.graph):
            values[node.name] = self._step(node, gains, inputs, resolve, seen)
            if node.op == "output":
                return values[node.name]
            for name in self._last_use[step]:
                del values[name]  # nothing reads it any more
        raise ArtifactError("the graph of the deployment has no output")

    def _step(
        self,
        node: OpNode,
        gains: Gains,
        inputs: Mapping[str, Any],
        resolve: Callable[[Any], Any],
        seen: dict[str, Tensor] | None,
    ) -> Any:
        if node.op == "input":
            name, *default = node.args
            if name not in inputs and not default:
                raise HratError(f"the network's input '{name}' is missing; got {', '.join(inputs) or 'none'}")
            return inputs[name] if name in inputs else default[0]
        if node.op == "crossbar":
            voltage, layer = resolve(node.args[0]), node.args[1]
            out = self._crossbar(layer, gains[layer], voltage)
            if seen is not None:
                seen[layer] = out
            return out
        args = map_nested(node.args, resolve)
        spec = self.deployment.spec
        if node.op in ("output", "constant"):
            return args[0]
        if node.op == "clamp_swing":
            return clamp_to(args[0], spec.periphery.v_swing_V) if spec.periphery.limit_swing else args[0]
        if node.op == "dac":
            return input_voltage(args[0], args[1], spec)
        if node.op == "adc":
            return island_value(args[0], args[1], spec)
        if node.op == "reader":
            return normal_scale(args[0], args[1])
        return OPS[node.op].function(*args, **map_nested(dict(node.kwargs), resolve))

    def _crossbar(self, name: str, gain: tuple[Tensor, ...], voltage: Tensor) -> Tensor:
        """Word-line voltages of a layer -> its amplifier outputs, V."""
        spec, geometry = self.deployment.spec, self.deployment.layers[name].geometry
        if spec.device.limit_read_voltage:
            voltage = clamp_to(voltage, spec.device.v_read_V)
        out = geometry.apply(voltage, gain[0])
        if len(gain) == 2:
            first = geometry.apply(voltage, gain[1])
            out = out - (clamp_to(first, spec.periphery.v_swing_V) if spec.periphery.limit_swing else first)
        bias_V = self.biases_V[name]
        if bias_V is not None:
            out = out + bias_V
        return clamp_to(out, spec.periphery.v_swing_V) if spec.periphery.limit_swing else out


def _last_uses(graph: tuple[OpNode, ...]) -> list[list[str]]:
    """For each step the values that no later step reads."""
    last: dict[str, int] = {}
    for step, node in enumerate(graph):
        last.setdefault(node.name, step)
        for name in node.inputs():
            last[name] = step
    ends: list[list[str]] = [[] for _ in graph]
    for name, step in last.items():
        ends[step].append(name)
    return ends


def stack_nested(parts: list[Any]) -> Any:
    """The same nest of tensors, several times, as one nest with a new first dimension."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.stack(parts)
    if isinstance(first, dict):
        return {key: stack_nested([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple | list):
        return type(first)(stack_nested(list(column)) for column in zip(*parts, strict=True))
    return first
