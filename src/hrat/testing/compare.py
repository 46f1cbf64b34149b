"""Comparison of two nests of tensors, and calls of networks in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_map

from hrat.errors import ConversionError
from hrat.testing.report import Finding, at_most, merged

__all__ = [
    "call",
    "compared",
    "doubled",
    "dropout_places",
    "in_float64",
    "named_tensors",
    "passed",
    "some_images",
    "without_dropout",
]

SMALLEST = 1e-9
"""Largest value of a tensor below which differences count as if it had this one."""


def compared(name: str, claim: str, got: Any, want: Any, bound: float, *, where: str = "output") -> Finding:
    """Whether two nests of tensors are equal.

    Args:
        name: name of the law or clause.
        claim: what it says.
        got: a tensor, or tuples, lists and dicts of such.
        want: what it should be, in the same order of tensors.
        bound: largest difference, relative to the largest value of each tensor.
        where: what the tensors are, for messages.

    Returns:
        The finding for the tensor that is the farthest off; broken as well where number, shapes or types differ, or
        where a value is not finite.
    """
    have, expected = named_tensors(got), named_tensors(want)
    if len(have) != len(expected):
        return _wrong(name, claim, bound, f"{where}: {len(have)} tensors, expected {len(expected)}")
    findings = [at_most(name, claim, 0.0, bound)]
    for (_, a), (path, b) in zip(have, expected, strict=True):
        findings.append(_compared_tensors(name, claim, a, b, bound, f"{where}{path}"))
    return merged(findings)


def _compared_tensors(name: str, claim: str, a: Tensor, b: Tensor, bound: float, place: str) -> Finding:
    if a.shape != b.shape:
        return _wrong(name, claim, bound, f"{place}: shape {tuple(a.shape)}, expected {tuple(b.shape)}")
    if a.dtype != b.dtype:
        return _wrong(name, claim, bound, f"{place}: {a.dtype}, expected {b.dtype}")
    if not bool(torch.isfinite(a).all()):
        return _wrong(name, claim, bound, f"{place}: values that are not finite")
    if a.numel() == 0:
        return at_most(name, claim, 0.0, bound)
    a, b = a.detach().double(), b.detach().double()
    off, size = float((a - b).abs().max()), float(b.abs().max())
    finding = at_most(name, claim, off / max(size, SMALLEST), bound)
    if finding.ok:
        return finding
    allowed = bound * max(size, SMALLEST)
    detail = f"{place} differs by {off:.3g} where the largest value is {size:.3g}; at most {allowed:.3g} was expected"
    return replace(finding, detail=detail)


def _wrong(name: str, claim: str, bound: float, detail: str) -> Finding:
    return Finding(name=name, claim=claim, status="broken", bound=bound, detail=detail)


def named_tensors(nested: Any) -> list[tuple[str, Tensor]]:
    """The tensors of a nest with their places in it, such as `['logits']`; empty for the nest that is a tensor."""
    leaves, _ = tree_flatten_with_path(nested)
    return [(keystr(path), leaf) for path, leaf in leaves if isinstance(leaf, Tensor)]


def call(model: nn.Module, inputs: Any) -> Any:
    """Call with a tensor, a tuple of arguments or a dict of keyword arguments, without a gradient, in eval mode."""
    model.eval()
    with torch.no_grad():
        return passed(model, inputs)


def passed(model: Callable[..., Any], inputs: Any) -> Any:
    """Call with a tensor, a tuple of arguments or a dict of keyword arguments."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def in_float64(model: nn.Module | Callable[[], nn.Module]) -> nn.Module:
    """A copy of a network, or what a factory yields, in float64 and eval mode.

    Raises:
        ConversionError: it is neither, or cannot be copied.
    """
    if isinstance(model, nn.Module):
        try:
            return copy.deepcopy(model).double().eval()
        except RuntimeError as error:
            raise ConversionError(
                f"{type(model).__name__} cannot be copied: {error}; give a function that makes the network instead"
            ) from error
    made = model() if callable(model) else model
    if not isinstance(made, nn.Module):
        raise ConversionError(f"expected a torch.nn.Module or a function that makes one, got {type(made).__name__}")
    return made.double().eval()


def doubled(inputs: Any) -> Any:
    """Inputs with all floating-point tensors in float64, detached copies."""

    def one(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return leaf.detach().double().clone() if leaf.is_floating_point() else leaf.detach().clone()

    return tree_map(one, inputs)


def some_images(inputs: Any, n: int) -> Any:
    """The first `n` images of inputs that are a single tensor; other inputs unchanged."""
    return inputs[:n] if isinstance(inputs, Tensor) else inputs


def dropout_places(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """Dropout probabilities of a network: modules, and names of their attributes."""
    return [
        (module, name)
        for module in model.modules()
        for name in ("p", "dropout", "dropout_p", "drop_prob")
        if isinstance(getattr(module, name, None), float) and getattr(module, name) > 0
    ]


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Run a network without dropout for a while."""
    places = [(module, name, getattr(module, name)) for module, name in dropout_places(model)]
    try:
        for module, name, _ in places:
            setattr(module, name, 0.0)
        yield
    finally:
        for module, name, before in places:
            setattr(module, name, before)
