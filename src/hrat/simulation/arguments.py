"""Arguments of a chip's network: bound to their names, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from hrat.artifacts import Deployment, ProgrammedChip
from hrat.batches import Batch, plain_value
from hrat.circuit import OPS, Dac, Input, OpNode, input_names
from hrat.errors import HratError
from hrat.simulation.nested import changed, tensors_of

__all__ = ["NetworkArguments"]


class NetworkArguments:
    """The arguments that a chip's network takes."""

    def __init__(self, chip: ProgrammedChip) -> None:
        self.names = input_names(chip.deployment.graph)
        self._fixed = chip.deployment.fixed
        self._positional = chip.deployment.positional
        self._to_dacs = _driving_dacs(chip.deployment)

    def by_name(self, batch: Batch) -> dict[str, Any]:
        """The arguments by the names that the network has for them, without those that are part of it.

        Raises:
            HratError: too many, unknown ones, or other values than the network was prepared with.
        """
        named: dict[str, Any] = {}
        given = [*zip(self._names_by_position(len(batch.args)), batch.args, strict=True), *batch.kwargs.items()]
        for name, value in given:
            if name in named:
                raise HratError(f"the network's input '{name}' is given twice; expected it once")
            if name in self._fixed:
                self._check_fixed(name, value, self._fixed[name])
            elif name in self.names:
                named[name] = plain_value(value)
            elif value is not None:  # what a network was prepared without is None, if it is anything
                raise HratError(f"the network has no input '{name}'; it takes {', '.join(self.names)}")
        if not tensors_of(named):
            raise HratError("a batch holds no inputs; expected (input, label) of each, or inputs alone as a tensor")
        return named

    def _names_by_position(self, count: int) -> list[str]:
        order = [*self._positional, *(name for name in self.names if name not in self._positional)]
        if count > len(order):
            raise HratError(f"the network takes {len(self.names)} input(s) ({', '.join(self.names)}), got {count}")
        return order[:count]

    def sound(self, inputs: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
        """The arguments on a device.

        Raises:
            ValueError: values that are not numbers, or infinite ones that drive a DAC.
        """
        for name, value in inputs.items():
            for leaf in tensors_of(value):
                bad = ~torch.isfinite(leaf) if name in self._to_dacs else leaf.isnan()
                if leaf.is_floating_point() and bool(bad.any()):
                    raise ValueError(f"input '{name}' has values that are not finite; expected numbers")
        out: dict[str, Any] = changed(dict(inputs), lambda leaf: leaf.to(device))
        return out

    def _check_fixed(self, name: str, value: Any, wanted: Any) -> None:
        if value is not wanted and value != wanted:
            raise HratError(
                f"'{name}' is {wanted!r} as in the example input, and part of the network; got {value!r}: prepare and "
                "deploy the model again with that value"
            )


def _driving_dacs(deployment: Deployment) -> set[str]:
    """Arguments whose values are those of a DAC, behind operations that only rearrange them."""
    graph = {node.name: node for node in deployment.graph}
    found: set[str] = set()
    for node in deployment.graph:
        ahead = [node.source.name] if isinstance(node, Dac) else []
        while ahead:
            match graph[ahead.pop()]:
                case Input(argument=name):
                    found.add(name)
                case OpNode() as moving if _rearranges(moving):
                    ahead += moving.inputs()
    return found


def _rearranges(node: OpNode) -> bool:
    op = OPS[node.operation]
    return op.analog and op.signals != "two" and not op.rectifies and not op.is_arithmetic
