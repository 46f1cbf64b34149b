"""Limits on the result of one step of a network, so that no graph takes all memory or time.

A graph comes from a file that anybody may have made. Its operations are those of the table and harmless, but some of
them build something of any size out of a number: a mask of a million rows, a list that doubles at each step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hrat.circuit import MOST_BITS, MOST_VALUES
from hrat.errors import HratError, NodeError
from hrat.simulation.nested import bytes_of, tensors_of

__all__ = ["Sizes", "check_held", "check_value", "computed", "most_bytes"]

SMALL_BYTES = 2**29
"""Size of a result that is always allowed."""
MOST_GROWTH = 64
"""Largest result beyond that, in multiples of the size of inputs, weights and constants together."""

MOST_HELD = 2
"""Largest sum of results that are held at a time, in multiples of the largest one that is allowed."""

_FAULTS = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, AssertionError)
"""Exceptions of torch and Python where an operation cannot take its arguments."""


def most_bytes(*given: Any) -> int:
    """Largest result of a step of a network.

    Args:
        given: nests of tensors: inputs, weights, constants.
    """
    return max(SMALL_BYTES, MOST_GROWTH * sum(map(bytes_of, given)))


def computed(name: str, run: Callable[[], Any]) -> Any:
    """The result of a node.

    Raises:
        NodeError: the node cannot be computed; torch's words for it are in the message.
    """
    try:
        return run()
    except HratError:
        raise
    except _TooLarge as error:
        raise _too_large(name, *error.args) from None
    except _FAULTS as error:
        why = str(error).strip().split("\n")[0] or type(error).__name__
        raise NodeError(
            f"node '{name}' of the network cannot be computed: {why:.500}; are the inputs of the shapes and types that "
            "the network was prepared for?"
        ) from error


class _TooLarge(Exception):  # noqa: N818 - becomes an error with the node's name
    """A tensor of more bytes than the most: these two numbers."""


class Sizes(TorchDispatchMode):
    """While it is on, `computed` holds each tensor that torch makes on the way to a result to a bound too."""

    def __init__(self, most: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.most = most

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute, on tensors without memory, and look at the size."""
        out = func(*args, **(kwargs or {}))
        for tensor in tensors_of(out):
            n_bytes = tensor.untyped_storage().nbytes()
            if n_bytes > self.most:
                raise _TooLarge(n_bytes, self.most)
        return out


def check_held(name: str, n_bytes: int, most: int) -> None:
    """Refuse results that take too much memory together.

    Args:
        name: name of the node behind which they are held.
        n_bytes: of all of them.
        most: bytes that one of them takes at most.

    Raises:
        HratError: together they are too large.
    """
    if n_bytes > MOST_HELD * most:
        raise HratError(
            f"{n_bytes:,} bytes of results would be held behind node '{name}' of the network for these inputs; "
            f"expected at most {MOST_HELD} times what one of them may take, {MOST_HELD * most:,}"
        )


def _too_large(name: str, n_bytes: int, most: int) -> HratError:
    return HratError(
        f"node '{name}' of the network would yield {n_bytes:,} bytes for these inputs; expected at most {most:,} "
        f"({MOST_GROWTH} times all inputs, weights and constants, and no less than {SMALL_BYTES:,})"
    )


def check_value(name: str, value: Any, most: int | None = None) -> None:
    """Refuse a result that is larger than any network needs.

    Args:
        name: name of the node.
        value: its result.
        most: bytes that a tensor without memory (on the device "meta") stands for at most; no bound if None.

    Raises:
        HratError: the result is too large.
    """
    if isinstance(value, Tensor):
        n_bytes = value.numel() * value.element_size()
        if most is not None and n_bytes > most:
            raise _too_large(name, n_bytes, most)
        return
    count = 0
    waiting = [value]
    while waiting:
        part = waiting.pop()
        count += 1
        if isinstance(part, tuple | list):
            waiting.extend(part[: MOST_VALUES + 1])
        elif isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, Tensor):
            check_value(name, part, most)
        elif isinstance(part, int) and part.bit_length() > MOST_BITS:
            raise HratError(f"node '{name}' of the network yields a whole number of {part.bit_length():,} bits")
        elif isinstance(part, str) and len(part) > MOST_VALUES:
            raise HratError(f"node '{name}' of the network yields a text of {len(part):,} characters")
        if count > MOST_VALUES:
            raise HratError(f"node '{name}' of the network yields a nest of more than {MOST_VALUES:,} values")
