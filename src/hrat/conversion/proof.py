"""What `prepare` checks before it returns: with all restrictions off, the converted network is the original.

On the example itself its outputs are; on another input, of other values and another batch size where the network takes
one, outputs and gradients are. Whatever conversion misunderstood, or took from the example for a fact, shows here and
not in a trained chip.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hrat.errors import ConversionError, HratError
from hrat.nn import PreparedModel, is_record, plain_value, restrictions

__all__ = ["DiffersError", "Reference", "tensors_in"]

ROUNDING = 1e3
"""Largest difference of outputs, in units of the coarsest precision on the way."""
GRADIENTS = 1e-2
"""Largest difference of a gradient relative to its norm, in single precision: a ReLU next to zero may go either way."""
ROWS = 2
"""Images of the other input."""


class DiffersError(ConversionError):
    """The converted network has other outputs than the original."""

    inputs: tuple[tuple[Any, ...], dict[str, Any]] = (), {}
    """Positional and keyword arguments on which it has them."""


@dataclass(frozen=True)
class _Passed:
    """One pass of a network, forward and back."""

    outputs: list[Tensor]
    by_parameter: dict[int, Tensor | None]
    """Gradients by identity of the parameter."""
    by_input: list[Tensor | None]


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
        for args, kwargs in _changed(self.args, self.kwargs):
            try:
                passed = _pass(network, args, kwargs)
                finite = all(bool(torch.isfinite(out).all()) for out in passed.outputs if out.is_floating_point())
            except Exception:  # an input that the network itself does not take says nothing
                continue
            if finite:
                self.other, self.passed = (args, kwargs), passed
                return

    def hold_against(self, prepared: PreparedModel, coarsest: float, own_gradients: tuple[str, ...]) -> None:
        """Compare the converted network.

        Args:
            prepared: the converted network, in eval mode.
            coarsest: relative precision of the coarsest numbers on the way.
            own_gradients: autograd functions that conversion followed.

        Raises:
            ConversionError: it differs.
        """
        with restrictions(prepared, prepared.spec.ideal()):
            with torch.no_grad():
                outputs = prepared(*self.args, **self.kwargs)
            self._same((self.args, self.kwargs), tensors_in(self.expected), tensors_in(outputs), coarsest, "")
            if self.other is None or self.passed is None:
                return
            args, kwargs = self.other
            try:
                passed = _pass(prepared, args, kwargs)
            except HratError:
                return  # a check in the graph: the network was said to be for inputs like the example's
            except Exception as error:
                raise ConversionError(
                    f"the converted model takes the example, and fails on another input that the original takes: "
                    f"{type(error).__name__}: {error}"
                ) from error
        where = " on another input than the example"
        self._same(self.other, self.passed.outputs, passed.outputs, coarsest, where)
        self._same_gradients(passed, coarsest, own_gradients)

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
        largest = max((float(want.norm()) for _, want, _ in pairs if want is not None), default=0.0)
        bound = min(0.5, max(GRADIENTS, 30 * coarsest))
        for what, want, have in pairs:
            zeros = torch.zeros((), dtype=torch.float64)
            a, b = (zeros if g is None else g.double() for g in (want, have))
            size = max(float(a.norm()), bound * largest, 1e-30)
            off = float((a - b).norm())
            if not off <= bound * size:
                raise _other_gradient(what, off / size, own_gradients)


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


def _pass(network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Passed:
    """Outputs, and gradients of a weighted sum of them."""
    inputs: list[Tensor] = []

    def leaf(value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point():
            value = value.detach().clone().requires_grad_()
            inputs.append(value)
        return value

    with torch.enable_grad():
        outputs = tensors_in(network(*_mapped(args, leaf), **_mapped(kwargs, leaf)))
        generator = torch.Generator().manual_seed(0)
        learned = [output for output in outputs if output.requires_grad]
        parameters = [p for p in network.parameters() if p.requires_grad]
        gradients: list[Tensor | None] = [None] * (len(parameters) + len(inputs))
        if learned:
            weights = [torch.randn(o.shape, generator=generator).to(o.device, o.dtype) for o in learned]
            gradients = list(torch.autograd.grad(learned, [*parameters, *inputs], weights, allow_unused=True))
    by_parameter = {id(p): g for p, g in zip(parameters, gradients, strict=False)}
    return _Passed([output.detach() for output in outputs], by_parameter, gradients[len(parameters) :])


def _same_outputs(expected: list[Tensor], outputs: list[Tensor], coarsest: float, where: str) -> None:
    for want, have in zip(expected, outputs, strict=True):
        if not want.is_floating_point():
            continue
        finite = want[torch.isfinite(want)]
        precision = max(coarsest, torch.finfo(want.dtype).eps)
        tolerance = ROUNDING * precision * max(1.0, float(finite.abs().max()) if finite.numel() else 0.0)
        if want.shape != have.shape:
            raise DiffersError(
                f"the converted model differs from the original{where}: its output has the shape {tuple(have.shape)} "
                f"where {tuple(want.shape)} was expected"
            )
        if not torch.allclose(want, have.to(want.dtype), rtol=0.0, atol=tolerance, equal_nan=True):
            cause = (
                "Something of the example was taken for a fact of the network: does the forward pass keep state, or "
                "compute with numbers that it takes out of tensors?"
                if where
                else "Does the forward pass use random numbers, in-place changes of views, or state that it keeps "
                "itself?"
            )
            raise DiffersError(
                f"the converted model differs from the original{where} although all restrictions are off: largest "
                f"difference {float((want - have).abs().nan_to_num().max()):.3g} where at most {tolerance:.3g} was "
                f"expected. {cause}"
            )


def _changed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """The example with other values, at first of a few images, then of all; masks may not take any value."""
    nests = (args, kwargs)
    sizes = {len(t) for t in tensors_in(nests) if t.ndim}
    rows = min(sizes) if len(sizes) == 1 else 0
    counts = [min(ROWS, rows - 1), 0] if rows > 1 else [0]
    for count, flips in itertools.product(counts, (True, False)):

        def change(value: Any, count: int = count, flips: bool = flips) -> Any:
            if not isinstance(value, Tensor):
                return value
            return _other(value[:count] if count and value.ndim else value, flips)

        yield _mapped(nests, change)


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


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """A nest like another one, dataclasses included, with its leaves changed."""
    if is_record(value):
        made = copy.copy(value)
        for part in dataclasses.fields(value):
            object.__setattr__(made, part.name, _mapped(getattr(value, part.name), change))
        return made
    if isinstance(value, dict):
        made = copy.copy(value)
        for key, part in value.items():
            dict.__setitem__(made, key, _mapped(part, change))
        return made
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_mapped(part, change) for part in value))
    return type(value)(_mapped(part, change) for part in value) if type(value) in (tuple, list) else change(value)


def tensors_in(value: Any) -> list[Tensor]:
    """Tensors of a nest, in order."""
    if isinstance(value, Tensor):
        return [value]
    value = plain_value(value)
    if isinstance(value, dict):
        value = list(value.values())
    return [t for part in value for t in tensors_in(part)] if isinstance(value, tuple | list) else []
