"""Augmentation of whole batches: each function takes images and a generator, and returns images of the same shape."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["AUGMENTATIONS", "Augmentation", "crop_flip", "flip"]

Augmentation = Callable[[Tensor, torch.Generator | None], Tensor]
"""`(images, generator) -> images`, with every random number from the generator, so that a run can be resumed."""


def flip(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Mirror every other image, left to right.

    Args:
        images: `(batch, channels, height, width)`.
        generator: source of the random numbers; PyTorch's default one where there is none.
    """
    mirrored = torch.randint(2, (len(images), 1, 1, 1), generator=generator) == 1
    return torch.where(mirrored, images.flip(3), images)


def crop_flip(images: Tensor, generator: torch.Generator | None = None, *, padding: int = 4) -> Tensor:
    """Shift each image by up to `padding` pixels either way and mirror every other one, as is usual on CIFAR.

    What is shifted in is zero, the mean colour of normalised images.

    Args:
        images: `(batch, channels, height, width)`.
        generator: source of the random numbers; PyTorch's default one where there is none.
        padding: the largest shift.
    """
    batch, _, height, width = images.shape
    top, left = torch.randint(2 * padding + 1, (2, batch), generator=generator)
    # A view of every window of the padded images, `(batch, channels, top, left, height, width)`; one is picked of each.
    windows = F.pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    return flip(windows[torch.arange(batch), :, top, left], generator)


AUGMENTATIONS: dict[str, Augmentation] = {"flip": flip, "crop-flip": crop_flip}
"""Augmentations by the names that recipes use."""
