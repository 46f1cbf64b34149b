"""A data set held in memory as bytes, normalised as it is handed out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from hrat.errors import DataError
from hrat.seeds import check_seed

__all__ = ["ArrayDataset", "pick_rows"]

MOST_OF_NUMPY = 2**32 - 1
"""The largest seed of numpy's RandomState."""


def pick_rows(total: int, count: int, seed: int) -> NDArray[np.intp]:
    """`count` of `total` rows, drawn without repetition and sorted; the same for the same seed in every version.

    With one seed, the rows of a smaller count are among those of a larger one.

    Raises:
        SeedError: the seed is no whole number, negative, or 2**32 or more.
    """
    seed = check_seed(seed, most=MOST_OF_NUMPY)
    # RandomState, not default_rng: NumPy promises that the stream of the former never changes.
    return np.sort(np.random.RandomState(seed).permutation(total)[:count])


class ArrayDataset(Dataset[tuple[Tensor, Any]]):
    """Images as bytes and their labels; what is indexed comes out as `(pixel / 255 - mean) / std`, in float32.

    Indexing with a list, array or tensor of indices gives a whole batch at once, which is many times faster than
    image by image; `make_loader` makes use of it.

    Attributes:
        images: uint8 `(N, C, H, W)`.
        labels: int64 `(N,)`, each of 0 to `num_classes - 1`.
        mean: mean of each channel, on the scale where a full pixel is 1.
        std: standard deviation of each channel, on the same scale.
        num_classes: how many classes there are, whether or not each of them occurs.
    """

    def __init__(
        self,
        images: Tensor | NDArray[np.uint8],
        labels: Tensor | NDArray[Any],
        *,
        mean: Sequence[float],
        std: Sequence[float],
        num_classes: int | None = None,
    ) -> None:
        """Check the arrays and hold on to them; they are shared with the caller where their type allows.

        Args:
            images: uint8 `(N, C, H, W)`, N at least 1.
            labels: any integer type, `(N,)`.
            mean: C values.
            std: C values above 0.
            num_classes: the largest label plus 1 where it is left out.

        Raises:
            DataError: a shape, a type, a label or a statistic is not as said above.
        """
        images, labels = torch.as_tensor(images), torch.as_tensor(labels)
        if images.dtype != torch.uint8 or images.ndim != 4 or images.numel() == 0:
            raise DataError(
                f"Expected images of uint8 and shape (N, C, H, W), none of them 0; "
                f"got {images.dtype} and {tuple(images.shape)}."
            )
        if labels.shape != images.shape[:1] or labels.is_floating_point() or labels.is_complex():
            raise DataError(
                f"Expected one whole number as label for each of the {len(images)} images; "
                f"got {labels.dtype} and shape {tuple(labels.shape)}."
            )
        labels = labels.to(torch.int64)
        low, high = int(labels.min()), int(labels.max())
        num_classes = high + 1 if num_classes is None else num_classes
        if low < 0 or high >= num_classes:
            raise DataError(f"Expected labels of 0 to {num_classes - 1}, got {low} to {high}.")
        channels = images.shape[1]
        for what, values, good in (
            ("mean", mean, all(math.isfinite(value) for value in mean)),
            ("std", std, all(math.isfinite(value) and value > 0 for value in std)),
        ):
            if len(values) != channels or not good:
                raise DataError(
                    f"Expected a {what} for each of {channels} channels, finite{' and above 0' * (what == 'std')}; "
                    f"got {tuple(values)}."
                )
        self.images, self.labels, self.num_classes = images, labels, num_classes
        self.mean, self.std = tuple(mean), tuple(std)
        # (C, 1, 1) fits one image and a batch alike.
        self._mean = torch.tensor(self.mean, dtype=torch.float32).reshape(-1, 1, 1)
        self._std = torch.tensor(self.std, dtype=torch.float32).reshape(-1, 1, 1)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)

    def __repr__(self) -> str:
        """Sizes only, so that printing a set stays short."""
        shape = "x".join(str(size) for size in self.images.shape[1:])
        return f"ArrayDataset({len(self)} images of {shape}, {self.num_classes} classes)"

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> tuple[Tensor, int]: ...

    @overload
    def __getitem__(self, index: Sequence[int] | slice | Tensor | NDArray[Any]) -> tuple[Tensor, Tensor]: ...

    def __getitem__(
        self, index: int | np.integer[Any] | Sequence[int] | slice | Tensor | NDArray[Any]
    ) -> tuple[Tensor, Tensor | int]:
        """One image `(C, H, W)` and its label, or for n indices a batch `(n, C, H, W)` and its labels `(n,)`.

        Raises:
            IndexError: an index is beyond the last image.
        """
        if isinstance(index, int | np.integer):
            return self._normalise(self.images[int(index)]), int(self.labels[int(index)])
        if isinstance(index, Sequence):
            index = torch.tensor(index, dtype=torch.int64)
        elif isinstance(index, np.ndarray):
            index = torch.as_tensor(index)
        return self._normalise(self.images[index]), self.labels[index]

    def _normalise(self, images: Tensor) -> Tensor:
        # `to` makes a new tensor (uint8 to float32), which can then be worked on in place.
        return images.to(torch.float32).div_(255.0).sub_(self._mean).div_(self._std)

    def take(self, rows: Tensor | NDArray[np.intp]) -> ArrayDataset:
        """A data set of these rows, `(n,)`, in this order, normalised as this one is."""
        rows = torch.as_tensor(rows)
        return ArrayDataset(
            self.images[rows], self.labels[rows], mean=self.mean, std=self.std, num_classes=self.num_classes
        )

    def subset(self, n: int, seed: int = 0) -> ArrayDataset:
        """`n` images drawn at random without repetition, in the order they have here; same seed, same images.

        Raises:
            DataError: `n` is not within 1 to the number of images.
        """
        if not 1 <= n <= len(self):
            raise DataError(f"Expected a subset of 1 to {len(self)} images, got {n}.")
        return self.take(pick_rows(len(self), n, seed))
