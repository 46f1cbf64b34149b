"""Operations that users register beside those of the table."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import Parameter
from torch.overrides import handle_torch_function, is_tensor_like
from torch.utils._pytree import tree_leaves

from hrat.circuit.operations import OPS, Op, op_of, register
from hrat.errors import HratError

__all__ = ["operation"]

_OWN: set[str] = set()


def operation(
    *,
    analog: bool = False,
    why: str = "an operation of one's own",
    name: str | None = None,
    per_channel: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function that hrat does not know, so that networks can use it as one step of their graph.

    For example::

        @hrat.operation(why="a table look-up")
        def companded(x):
            return torch.sign(x) * torch.log1p(255 * x.abs()) / 5.545

    The function is not traced, so that it may hold branches, loops and autograd functions; its first argument
    carries the signal, and it must take batches. One of a library is given as `operation(...)(library.function)`.
    A file of a deployment names the operation and does not hold its code: register it before loading the file.

    Args:
        analog: whether a circuit computes it on voltages, which needs `f(c x) = c f(x)` for every positive c; `prepare`
            refuses a network for which that does not hold. Otherwise it is computed digitally, between an ADC and a
            DAC.
        why: why it is digital, for the report.
        name: its name in files; the function's own name unless given. Letters, digits and underscores.
        per_channel: for an analog one: whether it treats channels (dimension 1) apart.

    Returns:
        A decorator that returns the function to be used in networks.

    Raises:
        HratError: a name that is taken, or that is no name.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        known = op_of(function)
        if known is not None and known.name not in _OWN:
            raise HratError(f"hrat knows {known.name!r} already; there is no need to register it")
        own = str(name or getattr(function, "__name__", ""))
        if not own.isidentifier():
            raise HratError(f"operation: expected a name of letters, digits and underscores, got {own!r}; give name=")
        if own in OPS and own not in _OWN:
            raise HratError(f"operation: hrat has one named {own!r} already; give another name=")

        @functools.wraps(function)
        def step(*args: Any, **kwargs: Any) -> Any:
            # What the tracer passes has a torch function of its own, by which it records the call.
            watching = [leaf for leaf in tree_leaves((args, kwargs)) if is_tensor_like(leaf) and not _is_plain(leaf)]
            if watching:
                return handle_torch_function(step, watching, *args, **kwargs)
            return function(*args, **kwargs)

        _OWN.add(own)
        register(Op(own, function, analog=analog, per_channel=per_channel, why="" if analog else why, own=True), [step])
        return step

    return decorate


def _is_plain(leaf: Any) -> bool:
    return type(leaf) in (Tensor, Parameter)
