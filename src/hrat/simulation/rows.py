"""Which inputs of a network have the images along their first dimension: found by the network's own shapes.

A mask, a table of positions or a single number is the same for all images. Where a batch is cut, it has to go with each
part. The sizes alone do not always tell: a mask of 5 x 5 may stand in a batch of 5. So the network is run without
numbers on one image more, in those inputs that are taken to have images: only the right ones still fit together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from hrat.artifacts import ProgrammedChip
from hrat.errors import HratError
from hrat.simulation.nested import first_tensor, tensors_of
from hrat.simulation.network import ChipSolver

__all__ = ["Rows", "cut"]

MOST_DOUBTFUL = 6
"""Most tensors of equal first dimension of which every choice is tried."""

Inputs = Mapping[str, Any]


class Rows:
    """The inputs of a chip's network that have images, found once and kept."""

    def __init__(self, chip: ProgrammedChip) -> None:
        self.chip = chip
        self._found: dict[tuple[Any, ...], frozenset[int]] = {}

    def count(self, inputs: Inputs) -> int:
        """Number of images in inputs without labels."""
        sizes = list(dict.fromkeys(len(leaf) for _, leaf in _leaves(inputs)))
        if len(sizes) < 2:
            return sizes[0] if sizes else int(first_tensor(inputs).numel())
        fitting = []
        for size in sizes:
            try:
                self.with_images(inputs, size)
            except HratError:
                continue
            fitting.append(size)
        return fitting[0] if len(fitting) == 1 else sizes[0]

    def with_images(self, inputs: Inputs, n_images: int) -> frozenset[int]:
        """The tensors that have images, by their places among all leaves of the inputs.

        Raises:
            HratError: it cannot be told.
        """
        shapes = tuple((place, leaf.ndim, len(leaf) == n_images) for place, leaf in _leaves(inputs))
        if n_images > 1 and shapes in self._found:
            return self._found[shapes]
        alike = frozenset(place for place, _, fits in shapes if fits)
        alone = len(shapes) == 1 or n_images == 1
        found = alike if alone else self._tried(inputs, alike, n_images)
        if not found:
            raise self._unknown(inputs, n_images)
        if n_images > 1:
            self._found[shapes] = found
        return found

    def _tried(self, inputs: Inputs, alike: frozenset[int], n_images: int) -> frozenset[int]:
        """Those of the tensors of equal size with which the network yields an output for each image."""
        solver = ChipSolver(self.chip[0], device="meta")

        def fits(places: frozenset[int], without: int | None = None) -> bool:
            longer = _longer(inputs, places, n_images + 1, without)
            try:
                outputs = tensors_of(solver.without_numbers(longer))
            except HratError:
                return False
            return bool(outputs) and all(out.ndim > 0 and len(out) == n_images + 1 for out in outputs)

        if fits(alike):
            others = ((place, alike - {place}) for place in sorted(alike) if len(alike) > 1)
            # What the network never reads may be taken for either.
            doubtful = [place for place, rest in others if fits(rest) and not fits(rest, without=place)]
            if doubtful:
                raise self._unknown(inputs, n_images, _names(inputs)[doubtful[0]])
            return alike
        found = [some for some in _choices(alike) if fits(some)]
        return found[0] if len(found) == 1 else frozenset()

    def _unknown(self, inputs: Inputs, n_images: int, doubtful: str | None = None) -> HratError:
        shapes = ", ".join(
            f"{name} {' and '.join(str(tuple(leaf.shape)) for leaf in tensors_of(value))}"
            for name, value in inputs.items()
        )
        about = f"whether '{doubtful}' holds" if doubtful else "which inputs and outputs hold"
        return HratError(
            f"{about} the {n_images} images along the first dimension cannot be told from the network ({shapes}), so "
            "that the batch cannot be cut into parts; expected inputs and outputs whose first dimension is the batch, "
            "or inputs that are given as they are to be simulated, without limit= and with a memory_bytes that holds "
            "them"
        )


def cut(inputs: Inputs, places: frozenset[int], part: slice) -> dict[str, Any]:
    """The inputs of some images: a part of each tensor in these places, the others as they are."""
    leaves, structure = tree_flatten(dict(inputs))
    some = [leaf[part] if place in places else leaf for place, leaf in enumerate(leaves)]
    out: dict[str, Any] = tree_unflatten(some, structure)
    return out


def _leaves(inputs: Inputs) -> list[tuple[int, Tensor]]:
    """Tensors that may have images, with their places."""
    return [
        (place, leaf)
        for place, leaf in enumerate(tree_leaves(dict(inputs)))
        if isinstance(leaf, Tensor) and leaf.ndim > 0
    ]


def _names(inputs: Inputs) -> list[str]:
    """The argument that each leaf is part of."""
    return [name for name, value in inputs.items() for _ in tree_leaves(value)]


def _longer(inputs: Inputs, places: frozenset[int], n_images: int, without: int | None) -> dict[str, Any]:
    """The inputs with another number of images in these places, and nothing in the place of one."""
    leaves, structure = tree_flatten(dict(inputs))
    for place in places:
        leaf = leaves[place]
        leaves[place] = torch.empty((n_images, *leaf.shape[1:]), dtype=leaf.dtype, device="meta")
    if without is not None:
        leaves[without] = None
    out: dict[str, Any] = tree_unflatten(leaves, structure)
    return out


def _choices(alike: frozenset[int]) -> Iterator[frozenset[int]]:
    """Every smaller choice of tensors, the larger ones first; of many tensors those that lack one."""
    smallest = 1 if len(alike) <= MOST_DOUBTFUL else len(alike) - 1
    for size in range(len(alike) - 1, smallest - 1, -1):
        yield from map(frozenset, combinations(sorted(alike), size))
