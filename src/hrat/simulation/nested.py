"""Nests of tensors, as networks take and return them: tuples, lists and dicts of tensors and of other values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["bytes_of", "changed", "first_tensor", "joined", "stacked", "tensors_of"]


def tensors_of(nested: Any) -> list[Tensor]:
    """The tensors of a nest, in order."""
    return [leaf for leaf in tree_leaves(nested) if isinstance(leaf, Tensor)]


def first_tensor(nested: Any) -> Tensor:
    """The first tensor of a nest."""
    return tensors_of(nested)[0]


def bytes_of(nested: Any) -> int:
    """Memory of the tensors of a nest, bytes; tensors that share memory are each counted."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_of(nested))


def changed(nested: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The nest with `change` applied to each tensor."""
    return tree_map(lambda leaf: change(leaf) if isinstance(leaf, Tensor) else leaf, nested)


def joined(parts: Sequence[Any], dim: int) -> Any:
    """One nest from several of equal structure, its tensors joined along dimension `dim`."""
    return parts[0] if len(parts) == 1 else _merged(parts, lambda tensors: torch.cat(tensors, dim=dim))


def stacked(parts: Sequence[Any]) -> Any:
    """One nest from several of equal structure, its tensors stacked along a new first dimension."""
    return _merged(parts, torch.stack)


def _merged(parts: Sequence[Any], merge: Callable[[list[Tensor]], Tensor]) -> Any:
    """One nest from several of equal structure; values that are no tensors are taken from the first."""
    first = parts[0]
    if isinstance(first, Tensor):
        return merge(list(parts))
    if isinstance(first, dict):
        return {key: _merged([part[key] for part in parts], merge) for key in first}
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(_merged(column, merge) for column in zip(*parts, strict=True)))
    if isinstance(first, tuple | list):
        return type(first)(_merged(column, merge) for column in zip(*parts, strict=True))
    return first
