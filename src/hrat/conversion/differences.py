"""Differences of a converted network: how much of them is rounding, and where they begin."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from hrat.conversion.describe import describe
from hrat.conversion.modes import clone_for_conversion
from hrat.conversion.nests import mapped, tensors_in
from hrat.conversion.trace import LINEAR_MODULES, trace
from hrat.conversion.written_out import write_out

__all__ = ["ROUNDINGS", "last_digit", "moved_by_rounding", "where_it_differs"]

ROUNDINGS = 30
"""How many times as far as by a change of the last digit of its inputs the outputs of a network may be apart."""
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


def last_digit(value: Tensor, generator: torch.Generator) -> Tensor:
    """Real numbers, each rounded up, down or not at all; others as they are."""
    if not value.is_floating_point():
        return value
    way = torch.randint(-1, 2, value.shape, generator=generator).to(value.device, value.dtype)
    return value * (1 + way * torch.finfo(value.dtype).eps)


def moved_by_rounding(model: nn.Module, inputs: _Arguments) -> float:
    """How far the outputs of a network move where its inputs change in the last digit; 0 where that is not known."""
    generator = torch.Generator().manual_seed(0)
    try:
        network = clone_for_conversion(model, LINEAR_MODULES).module
        changed = mapped(inputs, lambda value: last_digit(value, generator))
        once, again, moved = (_outputs(network, *each) for each in (inputs, inputs, changed))
    except Exception:  # the error that is being told matters, not this one
        return 0.0
    if any(not torch.equal(one, other) for one, other in zip(once, again, strict=True)):
        return 0.0  # it draws random numbers that no seed of torch holds
    pairs = zip(once, moved, strict=True)
    return max((float((one - other).abs().max()) for one, other in pairs if one.is_floating_point()), default=0.0)


def _outputs(network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """Outputs with the same random numbers each time."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return tensors_in(network(*args, **kwargs))


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
