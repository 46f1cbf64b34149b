"""Where a converted network begins to differ from the original: for the message of an error alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from hrat.conversion.describe import describe
from hrat.conversion.modes import clone_for_conversion
from hrat.conversion.trace import LINEAR_MODULES, trace
from hrat.conversion.written_out import write_out

__all__ = ["where_it_differs"]

RELATIVE = 1e-3
"""Differences below this part of the largest value are rounding."""

_Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def where_it_differs(model: nn.Module, example: _Arguments, inputs: _Arguments) -> str:
    """A sentence on the first layer whose output is another one in the traced network; empty if nothing can be said.

    Args:
        model: the original network.
        example: positional and keyword arguments on which it was traced.
        inputs: those on which it differs.
    """
    try:
        original = clone_for_conversion(model, LINEAR_MODULES).module
        recorded = _outputs_of_layers(original, inputs)
        traced = trace(write_out(clone_for_conversion(model, LINEAR_MODULES).module), *example)
        given = traced.arguments.bound(*inputs)
        watcher = _Watcher(traced.module, recorded)
        with torch.no_grad():
            watcher.run(*given)
    except Exception:  # the error that is being told matters, not this one
        return ""
    if watcher.first is None:
        return " All layers of the traced network have the original's outputs: it differs behind them."
    return f" The first layer whose output differs is at {describe(watcher.first)}."


def _outputs_of_layers(network: nn.Module, inputs: _Arguments) -> dict[str, list[Tensor]]:
    """Outputs of each linear layer and convolution by its path, call by call."""
    recorded: dict[str, list[Tensor]] = {}
    hooks = []
    for path, module in network.named_modules():
        if isinstance(module, LINEAR_MODULES):

            def note(_: nn.Module, __: Any, output: Tensor, path: str = path) -> None:
                recorded.setdefault(path, []).append(output)

            hooks.append(module.register_forward_hook(note))
    try:
        with torch.no_grad():
            network(*inputs[0], **inputs[1])
    finally:
        for hook in hooks:
            hook.remove()
    return recorded


class _Watcher(fx.Interpreter):
    """Runs a traced network and notes the first call of a layer whose output is another one."""

    def __init__(self, module: fx.GraphModule, recorded: dict[str, list[Tensor]]) -> None:
        super().__init__(module)
        self.recorded = {path: list(outputs) for path, outputs in recorded.items()}
        self.first: fx.Node | None = None

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        calls = self.recorded.get(str(n.target)) if n.op == "call_module" else None
        if self.first is None and calls and isinstance(value, Tensor):
            want = calls.pop(0)
            size = max(1.0, float(want.abs().max()) if want.numel() else 1.0)
            if want.shape != value.shape or not float((want - value).abs().max()) <= RELATIVE * size:
                self.first = n
        return value
