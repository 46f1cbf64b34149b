"""Which number of a prepared model comes from which number of the original network.

Conversion copies weights, splits them (`nn.MultiheadAttention`), puts them side by side (`nn.LSTM`) or transposes them.
Every number of the original is made different from all others first (`told_apart`); then a number is known by its
value, wherever it went.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["Origins", "batch_norms_by_origin", "told_apart"]

SHARE = 0.01
"""Largest move of a number, relative to the largest value of its tensor."""
AT_LEAST = 0.1
"""The largest value that is reckoned with where a tensor has smaller ones only."""


@torch.no_grad()
def told_apart(model: nn.Module, seed: int) -> nn.Module:
    """A copy whose parameters and batch statistics are moved by up to a hundredth, so that no two are equal."""
    generator = torch.Generator().manual_seed(seed)
    copied = copy.deepcopy(model)
    for parameter in copied.parameters():
        if parameter.is_floating_point():
            _move(parameter, generator)
    for module in copied.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
            _move(module.running_mean, generator)
            drawn = torch.rand(module.running_var.shape, dtype=torch.float64, generator=generator)
            module.running_var.mul_(1 + SHARE * drawn)
    return copied


def _move(tensor: Tensor, generator: torch.Generator) -> None:
    if tensor.numel():
        drawn = 2 * torch.rand(tensor.shape, dtype=torch.float64, generator=generator) - 1
        tensor.add_(SHARE * max(float(tensor.abs().max()), AT_LEAST) * drawn)


@dataclass(frozen=True)
class Origins:
    """Places in the original of the numbers of each copied tensor of the prepared model."""

    original: Mapping[str, Tensor]
    """Tensors of the original by name."""
    copies: Mapping[str, tuple[Tensor, Tensor]]
    """Tensors of the prepared model by name, each with the places of its numbers, `(numel,)`, counted through all
    tensors of the original, one after another."""

    @classmethod
    def find(cls, original: Mapping[str, Tensor], prepared: Mapping[str, Tensor]) -> Origins:
        """Compare all values.

        Args:
            original: tensors by name, no two numbers alike.
            prepared: tensors among which copies are looked for.
        """
        if not original:
            return cls({}, {})
        values, places = torch.cat([tensor.detach().flatten() for tensor in original.values()]).sort()
        copies = {}
        for name, tensor in prepared.items():
            flat = tensor.detach().flatten()
            if flat.dtype != values.dtype or not len(flat):
                continue
            at = torch.searchsorted(values, flat).clamp_(max=len(values) - 1)
            if bool((values[at] == flat).all()):
                copies[name] = (tensor, places[at])
        return cls(original, copies)

    def missing(self) -> list[str]:
        """Names of tensors of the original of which some number has no copy."""
        seen = torch.zeros(sum(tensor.numel() for tensor in self.original.values()), dtype=torch.bool)
        for _, places in self.copies.values():
            seen[places] = True
        return [name for name, of_it in self._split(seen) if not bool(of_it.all())]

    def copied_back(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Each copy with what the original has there now: `(name, copy, original)`, both `(numel,)`."""
        whole = torch.cat([tensor.detach().flatten() for tensor in self.original.values()]) if self.original else None
        for name, (tensor, places) in self.copies.items():
            assert whole is not None
            yield name, tensor.detach().flatten(), whole[places]

    def gathered(self, of_copies: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sums over all copies of each number of the original, such as gradients; shaped as the original's tensors."""
        like = next(iter(self.original.values()))
        total = torch.zeros(sum(t.numel() for t in self.original.values()), dtype=like.dtype)
        for name, (_, places) in self.copies.items():
            total.index_add_(0, places, of_copies[name].detach().flatten())
        return {name: part.view_as(self.original[name]) for name, part in self._split(total)}

    def _split(self, flat: Tensor) -> Iterator[tuple[str, Tensor]]:
        sizes = [tensor.numel() for tensor in self.original.values()]
        yield from zip(self.original, flat.split(sizes), strict=True)


def batch_norms_by_origin(model: nn.Module, prepared: nn.Module) -> Iterator[tuple[str, nn.Module, nn.Module]]:
    """Batch norms of the original, with those of the prepared model that hold their statistics.

    Yields:
        `(name in the original, module of the prepared model, module of the original)`.
    """
    norms = [(name, m) for name, m in model.named_modules() if isinstance(m, _BatchNorm)]
    for module in prepared.modules():
        mean = getattr(module, "running_mean", None)
        if not isinstance(mean, Tensor):
            continue
        for name, norm in norms:
            if norm.running_mean is not None and torch.equal(norm.running_mean, mean):
                yield name, module, norm
