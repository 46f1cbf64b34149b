"""The tiles of a layer that stand above one another, each with a part of the inputs: one partial sum for each.

Current summing needs none of this: bit lines that end at one virtual ground add up by themselves. Where each tile has
amplifiers and ADCs of its own (`periphery.partial_sums`), what a tile alone yields matters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from hrat.encoding.geometry import Geometry
from hrat.spec import HardwareSpec

__all__ = ["RowTiles"]


@dataclass(frozen=True)
class RowTiles:
    """Division of the rows of a layer's matrices (`Geometry.matrix_shape`) into tiles of `rows` word lines."""

    geometry: Geometry
    rows: int
    parts: tuple[_Part, ...] = field(init=False, repr=False, compare=False)
    """The tiles of a convolution; made at once, so that a compiler finds them there."""

    def __post_init__(self) -> None:
        """Cut the convolution."""
        total = 0 if self.geometry.kind == "linear" else self.geometry.matrix_shape[1]
        ends = [(start, min(start + self.rows, total)) for start in range(0, total, self.rows)]
        object.__setattr__(self, "parts", tuple(_Part(self.geometry, *end) for end in ends))

    @classmethod
    def of(cls, geometry: Geometry, spec: HardwareSpec) -> RowTiles | None:
        """The tiles whose partial sums pass ADCs; None where one tile holds all rows, or where currents are summed."""
        if spec.periphery.partial_sums == "currents" or geometry.matrix_shape[1] <= spec.array.rows:
            return None
        return cls(geometry, spec.array.rows)

    @property
    def count(self) -> int:
        """Number of partial sums for each output."""
        return -(-self.geometry.matrix_shape[1] // self.rows)

    def apply(self, inputs: Tensor, weight: Tensor) -> Tensor:
        """Partial sum of each tile: `Geometry.apply` of its rows alone.

        Args:
            inputs: inputs as for `Geometry.apply`.
            weight: weight of the shape `Geometry.weight_shape`.

        Returns:
            `(tiles, *shape)`, where `shape` is that of `Geometry.apply`; the sum over tiles is what that yields.
        """
        if self.geometry.kind == "linear":
            return self._linear(inputs, weight)
        return torch.stack([part.apply(inputs, weight) for part in self.parts])

    def _linear(self, inputs: Tensor, weight: Tensor) -> Tensor:
        missing = self.count * self.rows - self.geometry.in_channels  # the last tile is filled in part
        if missing:
            inputs, weight = F.pad(inputs, (0, missing)), F.pad(weight, (0, missing))
        split = (self.count, self.rows)
        return torch.einsum("...tk,otk->t...o", inputs.unflatten(-1, split), weight.unflatten(-1, split))


class _Part:
    """A tile of a convolution: some input channels of each group, the first and the last of them perhaps in part."""

    def __init__(self, geometry: Geometry, start: int, stop: int) -> None:
        taps = math.prod(geometry.kernel)  # rows of one channel
        self.groups = geometry.groups
        self.first, self.channels = start // taps, -(-stop // taps) - start // taps
        self.geometry = replace(geometry, in_channels=self.channels * self.groups)
        self.transposed = geometry.kind == "conv_transpose"
        row = torch.arange(self.first * taps, (self.first + self.channels) * taps)
        held = ((row >= start) & (row < stop)).view(self.channels, *geometry.kernel)
        if self.transposed:  # whose rows count taps from the other end, and whose weight has outputs behind inputs
            held = held.flip(tuple(range(1, held.ndim))).unsqueeze(1)
            held = held.repeat(self.groups, *(1,) * (held.ndim - 1))
        self.held = None if bool(held.all()) else held

    def apply(self, inputs: Tensor, weight: Tensor) -> Tensor:
        if self.groups == 1:
            inputs = inputs.narrow(1, self.first, self.channels)
        else:
            of_group = inputs.unflatten(1, (self.groups, -1))
            inputs = of_group.narrow(2, self.first, self.channels).flatten(1, 2)
        if self.transposed:
            weight = weight.unflatten(0, (self.groups, -1)).narrow(1, self.first, self.channels).flatten(0, 1)
        else:
            weight = weight.narrow(1, self.first, self.channels)
        if self.held is not None:
            weight = weight * self.held.to(weight.device)
        return self.geometry.apply(inputs, weight)
