"""`check_operation`: the contract of a user's operation, by which networks, files and chips can use it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hrat.artifacts import Deployment
from hrat.circuit import OPS, Op, OpNode, op_of, ways_to_call
from hrat.conversion import prepare
from hrat.errors import HratError
from hrat.mapping import deploy
from hrat.programming import program
from hrat.simulation import simulate
from hrat.testing.compare import compared, doubled
from hrat.testing.laws import nothing_is_lost, trained_is_deployed
from hrat.testing.report import CheckReport, Finding, held, merged, true_or_not, unchecked

__all__ = ["OPERATION_TOLERANCE", "check_operation"]

OPERATION_TOLERANCE = 1e-12
"""Largest difference, relative to the largest output, in float64."""
FACTORS = (0.37, 2.9, 1000.0)
"""Positive scales with which an analog operation has to commute."""


def check_operation(
    operation: str | Callable[..., Any],
    example_args: Any,
    *,
    spec: str = "generic-4bit",
    seed: int = 0,
    throw: bool = True,
) -> CheckReport:
    """Check the contract of an operation that `hrat.operation` registered.

    In float64: it is pure (the same result each time, its arguments left alone), keeps batch dimension and floating
    type, gives finite numbers, treats each image alone as in a batch, lets a gradient through, commutes with a
    positive scale if it is declared analog (channel by channel if `per_channel`), and works as one step of a small
    network that is deployed, saved, loaded and simulated.

    Args:
        operation: the function that `hrat.operation` returned, or the name by which files call it.
        example_args: the signal `(images, ...)` of two images or more, or a tuple of it and further arguments.
        spec: hardware of the small network.
        seed: seed of its weights.
        throw: False to return a report with what is broken.

    Returns:
        A finding for each clause.

    Raises:
        LawError: a clause is broken, and `throw` is on.
        HratError: an operation that is not registered, or example arguments without a batch of images.
    """
    op, function = _registered(operation)
    args = doubled(example_args if isinstance(example_args, tuple) else (example_args,))
    if not args or not isinstance(args[0], Tensor) or args[0].dim() < 1 or len(args[0]) < 2:
        raise HratError("example_args: expected a floating-point tensor of two images or more in the first place")
    clauses: dict[str, tuple[str, Callable[[], Finding]]] = {
        "pure": ("yields the same each time and leaves its arguments alone", lambda: _pure(function, args)),
        "batch": ("keeps batch dimension and type, and is finite", lambda: _batch(function, args)),
        "alone": ("does with an image alone what it does in a batch", lambda: _alone(function, args)),
        "gradient": ("lets a gradient through", lambda: _gradient(function, args)),
        "scale": ("commutes with a positive scale", lambda: _scale(op, function, args)),
        "network": ("is one step of a network, and survives saving", lambda: _network(op, function, args, spec, seed)),
    }
    findings = tuple(held(name, claim, check) for name, (claim, check) in clauses.items())
    report = CheckReport(subject=f"contract of the operation {op.name}", findings=findings)
    return report.require() if throw else report


def _registered(operation: str | Callable[..., Any]) -> tuple[Op, Callable[..., Any]]:
    op = OPS.get(operation) if isinstance(operation, str) else op_of(operation)
    if op is None:
        called = operation if isinstance(operation, str) else getattr(operation, "__name__", repr(operation))
        raise HratError(
            f"no operation {called!r} is registered; expected one that hrat.operation returned, or its name"
        )
    return op, ways_to_call(op)[0]


def _run(function: Callable[..., Any], args: Sequence[Any]) -> Tensor:
    with torch.no_grad():
        out = function(*args)
    if not isinstance(out, Tensor):
        raise HratError(f"it returns {type(out).__name__}; expected a tensor")
    return out


def _pure(function: Callable[..., Any], args: Sequence[Any]) -> Finding:
    claim = "yields the same each time and leaves its arguments alone"
    given = doubled(tuple(args))
    first = _run(function, given).clone()
    left = compared("pure", claim, given, tuple(args), 0.0, where="argument after the call, ")
    return merged([left, compared("pure", claim, _run(function, args), first, 0.0, where="second call, output")])


def _batch(function: Callable[..., Any], args: Sequence[Any]) -> Finding:
    claim = "keeps batch dimension and type, and is finite"
    for dtype in (torch.float32, torch.float64):
        out = _run(function, [a.to(dtype) if isinstance(a, Tensor) and a.is_floating_point() else a for a in args])
        n = len(args[0])
        if out.dim() < 1 or len(out) != n:
            return true_or_not("batch", claim, False, f"output of shape {tuple(out.shape)}, expected {n} images first")
        if out.dtype != dtype:
            return true_or_not("batch", claim, False, f"{out.dtype} from {dtype}; expected the same type")
        if not bool(out.isfinite().all()):
            return true_or_not("batch", claim, False, f"values that are not finite, in {dtype}")
    return true_or_not("batch", claim, True)


def _alone(function: Callable[..., Any], args: Sequence[Any]) -> Finding:
    """Check each image alone; further arguments stay whole, since their batch dimension is unknown."""
    claim, n = "does with an image alone what it does in a batch", len(args[0])
    whole = _run(function, args)
    alone = torch.cat([_run(function, (args[0][i : i + 1], *args[1:])) for i in range(n)])
    turned = _run(function, (args[0].flip(0), *args[1:])).flip(0)
    return merged(
        [
            compared("alone", claim, alone, whole, OPERATION_TOLERANCE, where="one by one, output"),
            compared("alone", claim, turned, whole, OPERATION_TOLERANCE, where="in another order, output"),
        ]
    )


def _gradient(function: Callable[..., Any], args: Sequence[Any]) -> Finding:
    claim = "lets a gradient through"
    signal = args[0].clone().requires_grad_()
    out = function(signal, *args[1:])
    if not out.requires_grad:
        return true_or_not("gradient", claim, False, "its output has no gradient: is it detached, or a whole number?")
    weights = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((weights * out).sum(), signal, allow_unused=True)
    if gradient is None or not bool(gradient.any()):
        why = "the gradient by its signal is zero everywhere, so that nothing in front of it would learn"
        return true_or_not("gradient", claim, False, why)
    if not bool(gradient.isfinite().all()):
        return true_or_not("gradient", claim, False, "the gradient by its signal is not finite")
    return true_or_not("gradient", claim, True)


def _scale(op: Op, function: Callable[..., Any], args: Sequence[Any]) -> Finding:
    claim = "commutes with a positive scale"
    if not op.analog:
        return unchecked("scale", claim, "it is digital and does not claim to")
    signal, out = args[0], _run(function, args)
    findings = [
        compared(
            "scale",
            claim,
            _run(function, (c * signal, *args[1:])),
            c * out,
            OPERATION_TOLERANCE,
            where=f"signal times {c:g}, output",
        )
        for c in FACTORS
    ]
    if op.per_channel and signal.dim() > 1 and out.dim() > 1 and out.shape[1] == signal.shape[1]:
        factors = torch.linspace(0.5, 3.0, signal.shape[1], dtype=signal.dtype)
        c_in, c_out = (factors.view(-1, *(1 for _ in range(t.dim() - 2))) for t in (signal, out))
        scaled = _run(function, (c_in * signal, *args[1:]))
        findings.append(
            compared("scale", claim, scaled, c_out * out, OPERATION_TOLERANCE, where="channel by channel, output")
        )
    return merged(findings)


class _Around(nn.Module):
    """A linear layer over the last dimension, and the operation behind it."""

    def __init__(self, function: Callable[..., Any], args: Sequence[Any]) -> None:
        super().__init__()
        width = args[0].shape[-1]
        self.first = nn.Linear(width, width)
        self.function, self.n_others = function, len(args) - 1
        self.others = {i: arg for i, arg in enumerate(args[1:]) if not isinstance(arg, Tensor)}
        for i, arg in enumerate(args[1:]):
            if isinstance(arg, Tensor):
                self.register_buffer(f"other_{i}", arg)

    def forward(self, x: Tensor) -> Any:
        others = [self.others[i] if i in self.others else getattr(self, f"other_{i}") for i in range(self.n_others)]
        return self.function(self.first(x), *others)


def _network(op: Op, function: Callable[..., Any], args: Sequence[Any], spec: str, seed: int) -> Finding:
    claim, x = "is one step of a network, and survives saving", args[0]
    if x.dim() < 2:
        return unchecked("network", claim, "the example has no dimension beside its batch, so no layer can yield it")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _Around(function, args).double().eval()
    prepared = prepare(model, spec, x)
    deployment = deploy(prepared)
    if not any(isinstance(node, OpNode) and node.operation == op.name for node in deployment.graph):
        return true_or_not(
            "network", claim, False, f"the graph of the chip has no step {op.name}: it was followed inside"
        )
    chip = program(deployment, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        again = program(Deployment.load(deployment.save(Path(folder) / "own.deployment")), seed=seed)
    return merged(list(_in_network(model, prepared, (chip, again), x, claim)))


def _in_network(model: nn.Module, prepared: Any, chips: tuple[Any, Any], x: Tensor, claim: str) -> Iterator[Finding]:
    yield nothing_is_lost(model, prepared, x)
    yield trained_is_deployed(prepared, chips[0], x)
    before, after = (simulate(chip, x).value for chip in chips)
    yield compared("network", claim, after, before, 0.0, where="after saving and loading, output")
