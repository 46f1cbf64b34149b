"""What `prepare` checks before it returns: with all restrictions off, the converted network is the original.

On the example itself its outputs are; on another input, of other values and another batch size where the network takes
one, outputs and gradients are. Whatever conversion misunderstood, or took from the example for a fact, shows here and
not in a trained chip.
"""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hrat.conversion.nests import mapped, tensors_in
from hrat.conversion.trace import Traced
from hrat.errors import ConversionError, HratError
from hrat.nn import PreparedModel, restrictions

__all__ = ["DiffersError", "Reference"]

ROUNDING = 1e3
"""Largest difference of outputs, in units of the coarsest precision on the way."""
MOST = 0.1
"""Largest difference relative to the largest output, where numbers are so coarse that they could hide anything."""
GRADIENTS = 1e-2
"""Largest difference of a gradient relative to its norm, in single precision: a ReLU next to zero may go either way."""
ROWS = 2
"""Images of the other input; of a large network one."""
LARGE = 10_000_000
"""Parameters of a network from which on the checks are confined to what takes little time."""
LARGE_MATRIX = 100_000
"""Numbers from which on the gradient of a parameter is not compared in a large network: those beside it tell."""
ELSEWHERE = " on another input than the example"
SAMPLES = 4096
"""Numbers of a gradient that are compared one by one, about."""


class DiffersError(ConversionError):
    """The converted network has other outputs than the original."""

    inputs: tuple[tuple[Any, ...], dict[str, Any]] = (), {}
    """Positional and keyword arguments on which it has them."""
    off: float = math.inf
    """The largest difference."""


@dataclass(frozen=True)
class _Gradient:
    """What is kept of a gradient: all of it would take the memory of the network once more."""

    norm: float
    count: int
    """How many numbers it has."""
    sample: Tensor
    """Some of these, in double precision."""

    @classmethod
    def of(cls, gradient: Tensor) -> _Gradient:
        flat = gradient.detach().flatten()
        sample = flat[:: max(1, flat.numel() // SAMPLES)].double()
        norm = torch.linalg.vector_norm(flat, dtype=torch.promote_types(flat.dtype, torch.float32))
        return cls(float(norm), max(1, flat.numel()), sample)


@dataclass(frozen=True)
class _Passed:
    """One pass of a network, forward and back."""

    outputs: list[Tensor]
    by_parameter: dict[int, _Gradient | None]
    """Gradients by identity of the parameter."""
    by_input: list[_Gradient | None]


def _is_large(network: nn.Module) -> bool:
    return sum(p.numel() for p in network.parameters()) > LARGE


class Reference:
    """Outputs and gradients of the original network, to compare the converted one with."""

    def __init__(self, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], *, others: bool) -> None:
        """Run the network.

        Args:
            network: the network in eval mode.
            args: positional example arguments.
            kwargs: keyword example arguments.
            others: whether to run it on another input too, forward and back.
        """
        self.args, self.kwargs = args, kwargs
        self.failure: Exception | None = None
        self.expected: Any = None
        # Weakly, so that what conversion replaces is given back, and no other tensor is taken for it.
        self.is_large = _is_large(network)
        self.parameters = {name: weakref.ref(p) for name, p in network.named_parameters()}
        self.other: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self.passed: _Passed | None = None
        try:
            with torch.no_grad():
                self.expected = network(*args, **kwargs)
        except Exception as error:  # whatever the model's own code raises
            self.failure = error
            return
        if others:
            self._run_on_another(network)

    def _run_on_another(self, network: nn.Module) -> None:
        """Outputs and gradients on the first of several changed inputs that the network takes."""
        for args, kwargs in _changed(self.args, self.kwargs, 1 if self.is_large else ROWS):
            try:
                passed = _pass(network, network, args, kwargs)
                finite = all(bool(torch.isfinite(out).all()) for out in passed.outputs if out.is_floating_point())
            except Exception:  # an input that the network itself does not take says nothing
                continue
            if finite:
                self.other, self.passed = (args, kwargs), passed
                return

    def hold_against_traced(self, traced: Traced) -> None:
        """Compare the traced network, on another input than the example: outputs and gradients.

        Raises:
            ConversionError: it differs.
        """
        if self.other is None or self.passed is None:
            return

        def network(*args: Any, **kwargs: Any) -> Any:
            return traced.form.put_together(traced.module(*traced.arguments.bound(args, kwargs)))

        try:
            passed = _pass(network, traced.module, *self.other)
        except HratError:
            return  # a check in the graph: the network was said to be for inputs like the example's
        except Exception as error:
            raise _fails(error) from error
        self._same(self.other, self.passed.outputs, passed.outputs, traced.coarsest, ELSEWHERE)
        self._same_gradients(passed, traced.coarsest, traced.own_gradients)

    def hold_against(self, prepared: PreparedModel, coarsest: float) -> None:
        """Compare the converted network: on the example, and if it is not large on another input.

        Args:
            prepared: the converted network, in eval mode.
            coarsest: relative precision of the coarsest numbers on the way.

        Raises:
            ConversionError: it differs.
        """
        with torch.no_grad(), restrictions(prepared, prepared.spec.ideal()):
            outputs = prepared(*self.args, **self.kwargs)
            self._same((self.args, self.kwargs), tensors_in(self.expected), tensors_in(outputs), coarsest, "")
            if self.other is None or self.passed is None or self.is_large:
                return
            args, kwargs = self.other
            try:
                outputs = prepared(*args, **kwargs)
            except HratError:
                return
            except Exception as error:
                raise _fails(error) from error
            self._same(self.other, self.passed.outputs, tensors_in(outputs), coarsest, ELSEWHERE)

    def _same(
        self,
        inputs: tuple[tuple[Any, ...], dict[str, Any]],
        expected: list[Tensor],
        outputs: list[Tensor],
        coarsest: float,
        where: str,
    ) -> None:
        try:
            _same_outputs(expected, outputs, coarsest, where)
        except DiffersError as error:
            error.inputs = inputs
            raise

    def _same_gradients(self, ours: _Passed, coarsest: float, own_gradients: tuple[str, ...]) -> None:
        theirs = self.passed
        assert theirs is not None
        pairs = [
            (f"parameter '{name}'", theirs.by_parameter[id(p)], ours.by_parameter[id(p)])
            for name, held in self.parameters.items()
            if (p := held()) is not None and id(p) in ours.by_parameter and id(p) in theirs.by_parameter
        ]
        pairs += [(f"input {k}", *both) for k, both in enumerate(zip(theirs.by_input, ours.by_input, strict=True))]
        largest = max((want.norm for _, want, _ in pairs if want is not None), default=0.0)
        bound = min(0.5, max(GRADIENTS, 30 * coarsest))
        for what, want, have in pairs:
            off = _apart(want, have, bound * largest)
            if not off <= bound:
                raise _other_gradient(what, off, own_gradients)


def _apart(want: _Gradient | None, have: _Gradient | None, least: float) -> float:
    """How far two gradients are apart, relative to their size, which is reckoned with as `least` at least."""
    norms = [0.0 if gradient is None else gradient.norm for gradient in (want, have)]
    off = abs(norms[0] - norms[1]) / max(norms[0], least, 1e-30)
    if want is None or have is None:
        return off
    share = math.sqrt(len(want.sample) / want.count)  # of the norm, in the numbers that are kept
    size = max(float(want.sample.norm()), share * least, 1e-30)
    return max(off, float((want.sample - have.sample).norm()) / size)


def _fails(error: Exception) -> ConversionError:
    return ConversionError(
        "the converted model takes the example, and fails on another input that the original takes: "
        f"{type(error).__name__}: {error}"
    )


def _other_gradient(what: str, off: float, own_gradients: tuple[str, ...]) -> ConversionError:
    cause = (
        f"It has gradients of its own: {', '.join(own_gradients)}; register the `apply` of each as an operation "
        "(hrat.operation), which keeps them."
        if own_gradients
        else "Does the forward pass stop, turn or scale gradients by other means than detach() and torch.no_grad()?"
    )
    return ConversionError(
        "the converted model has the original's outputs and another gradient, although all restrictions are off: by "
        f"{what} it differs by {off:.2g} of its size. {cause}"
    )


def _pass(call: Callable[..., Any], network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Passed:
    """Outputs, and gradients of a weighted sum of them; of a large network not those of large matrices."""
    inputs: list[Tensor] = []

    def leaf(value: Tensor) -> Tensor:
        if value.is_floating_point():
            value = value.detach().clone().requires_grad_()
            inputs.append(value)
        return value

    learned_ones = [p for p in network.parameters() if p.requires_grad]
    left_out = [p for p in learned_ones if _is_large(network) and p.numel() > LARGE_MATRIX]
    kept = [p for p in learned_ones if p.numel() <= LARGE_MATRIX] if left_out else learned_ones
    by_parameter: dict[int, _Gradient | None] = {id(p): None for p in kept}

    def keep(parameter: Tensor) -> None:
        assert parameter.grad is not None
        by_parameter[id(parameter)] = _Gradient.of(parameter.grad)
        parameter.grad = None

    hooks = [p.register_post_accumulate_grad_hook(keep) for p in kept]
    try:
        for p in left_out:
            p.requires_grad_(False)
        with torch.enable_grad():
            outputs = tensors_in(call(*mapped(args, leaf), **mapped(kwargs, leaf)))
            learned = [output for output in outputs if output.requires_grad]
            generator = torch.Generator().manual_seed(0)
            weights = [torch.randn(o.shape, generator=generator).to(o.device, o.dtype) for o in learned]
            if learned:
                torch.autograd.backward(learned, weights)
    finally:
        for hook in hooks:
            hook.remove()
        for p in left_out:
            p.requires_grad_()
    by_input = [None if value.grad is None else _Gradient.of(value.grad) for value in inputs]
    return _Passed([output.detach() for output in outputs], by_parameter, by_input)


def _same_outputs(expected: list[Tensor], outputs: list[Tensor], coarsest: float, where: str) -> None:
    for want, have in zip(expected, outputs, strict=True):
        if not want.is_floating_point():
            continue
        finite = want[torch.isfinite(want)]
        precision = max(coarsest, torch.finfo(want.dtype).eps)
        tolerance = min(ROUNDING * precision, MOST) * max(1.0, float(finite.abs().max()) if finite.numel() else 0.0)
        if want.shape != have.shape:
            raise DiffersError(
                f"the converted model differs from the original{where}: its output has the shape {tuple(have.shape)} "
                f"where {tuple(want.shape)} was expected"
            )
        if not torch.allclose(want, have.to(want.dtype), rtol=0.0, atol=tolerance, equal_nan=True):
            cause = (
                "Does the forward pass use random numbers, keep state, or compute with numbers that it takes out of "
                "tensors, so that something of the example was taken for a fact of the network?"
                if where
                else "Does the forward pass use random numbers, in-place changes of views, or state that it keeps "
                "itself?"
            )
            off = float((want - have).abs().nan_to_num().max())
            error = DiffersError(
                f"the converted model differs from the original{where} although all restrictions are off: largest "
                f"difference {off:.3g} where at most {tolerance:.3g} was expected. {cause}"
            )
            error.off = off if torch.equal(torch.isfinite(want), torch.isfinite(have)) else math.inf
            raise error


def _changed(
    args: tuple[Any, ...], kwargs: dict[str, Any], most: int
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """The example with other values, at first of a few images, then of all; masks may not take any value."""
    nests = (args, kwargs)
    sizes = {len(t) for t in tensors_in(nests) if t.ndim}
    rows = min(sizes) if len(sizes) == 1 else 0
    counts = [min(most, rows - 1), 0] if rows > 1 else [0]
    for count, flips in itertools.product(counts, (True, False)):

        def change(value: Tensor, count: int = count, flips: bool = flips) -> Tensor:
            return _other(value[:count] if count and value.ndim else value, flips)

        yield mapped(nests, change)


def _other(value: Tensor, flips: bool) -> Tensor:
    """Other values of the same kind: real numbers scaled and moved, whole ones exchanged, some truth values turned."""
    if value.numel() == 0:
        return value
    moved = value.flatten().roll(1).view_as(value)
    if value.is_floating_point():
        return torch.where(torch.isfinite(value), 0.75 * value + 0.25 * moved.nan_to_num(0.0, 0.0, 0.0), value)
    if value.dtype is torch.bool and flips:
        third = torch.arange(value.numel(), device=value.device).view_as(value) % 3 == 1
        return value ^ third
    return moved
