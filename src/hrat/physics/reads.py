"""Random numbers of single readings of a chip.

What differs from reading to reading is drawn anew for each image, layer and call. Of a certain chip the numbers come
from streams that are named by the chip, the place and the image, so that every solver, however it cuts the images into
batches, meets the same reading; in training they come from any generator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

from hrat.physics.errors import standard_normal
from hrat.seeds import seed_of_place

__all__ = ["AnyReads", "ChipReads", "Draw"]

BLOCK = 64
"""Images that share a generator."""


Draw = Callable[[Tensor, int, str], Tensor]
"""Standard normal numbers of a reading of a layer: `(like, images_at, part) -> numbers`.

`like` gives shape, type and device; `images_at` is its dimension that counts the images, negative where there is one
image without a dimension; `part` says which of the layer's parts the numbers are for.
"""


class AnyReads:
    """Numbers that are never the same again, from a generator, or from torch's default one."""

    def __init__(self, generator: torch.Generator | None = None, strength: Tensor | float = 1.0) -> None:
        self.generator = generator
        self.strength = strength

    def of_layer(self, name: str) -> Draw:
        """Numbers of the readings of a layer."""
        del name

        def draw(like: Tensor, images_at: int, part: str) -> Tensor:
            del images_at, part
            numbers = standard_normal(torch.empty_like(like, memory_format=torch.contiguous_format), self.generator)
            return numbers.mul_(self.strength)

        return draw


class ChipReads:
    """Numbers of the readings of one chip: a function of its seed, the layer, the call of the layer, and the image.

    A layer that a network calls several times is read at each call: calls are counted from `begin` on.
    """

    def __init__(self, seed: int, series: int = 0) -> None:
        """Name the streams.

        Args:
            seed: seed of the chip.
            series: number of the series of readings: the same images read again have another one.
        """
        self.seed = seed
        self.series = series
        self.first_image = 0
        self._calls: Counter[str] = Counter()

    def begin(self, first_image: int) -> None:
        """Begin a pass of images through the network.

        Args:
            first_image: number of the first image, from 0 on, over all batches.
        """
        self.first_image = first_image
        self._calls.clear()

    def of_layer(self, name: str) -> Draw:
        """Numbers of the readings of a layer."""

        def draw(like: Tensor, images_at: int, part: str) -> Tensor:
            if images_at < 0:
                return draw(like.unsqueeze(0), 0, part)[0]
            place = f"{name}/{part}"
            call = self._calls[place]
            self._calls[place] += 1
            return self._numbers(f"{place}/call {call}", like, images_at)

        return draw

    def _numbers(self, place: str, like: Tensor, images_at: int) -> Tensor:
        n_images = like.shape[images_at]
        each = [size for dim, size in enumerate(like.shape) if dim != images_at]
        first_block, start = divmod(self.first_image, BLOCK)
        blocks = []
        for block in range(first_block, (self.first_image + n_images - 1) // BLOCK + 1):
            seed = seed_of_place(self.seed, f"{place}/series {self.series}/block {block}/read")
            # In single precision whatever the network computes in: the numbers are then the same for all.
            drawn = torch.empty((BLOCK, *each), dtype=torch.float32)
            blocks.append(drawn.normal_(generator=torch.Generator().manual_seed(seed)))
        numbers = torch.cat(blocks)[start : start + n_images].movedim(0, images_at)
        return numbers.to(device=like.device, dtype=like.dtype)
