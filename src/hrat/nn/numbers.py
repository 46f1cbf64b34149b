"""Number types. What is analog is computed in single precision at least, whatever the type of the model.

Conductances of a few microsiemens differ by less than half a number of 16 bits can tell, and so do the codes of a bias
DAC. A model of such a type keeps its parameters and digital values in it, and takes them wider where volts begin.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["DigitalBorder", "at_least_single", "is_half"]

HALVES = (torch.float16, torch.bfloat16)


def is_half(dtype: torch.dtype) -> bool:
    """Whether it is a floating-point type of 16 bits."""
    return dtype in HALVES


def at_least_single(x: Tensor) -> Tensor:
    """Values of any shape, in single precision where their type is shorter."""
    return x.float() if x.dtype in HALVES else x


class DigitalBorder(nn.Module):
    """A place where digital values become volts, or volts digital values, in a model of any number type."""

    def __init__(self) -> None:
        super().__init__()
        self.number_type: Tensor
        self.register_buffer("number_type", torch.empty(0), persistent=False)
        """Has the number type of the model, and follows it (`model.half()`)."""

    def into_analog(self, x: Tensor) -> Tensor:
        """Digital values of a model of a half type in single precision; others as they are."""
        return at_least_single(x) if is_half(self.number_type.dtype) else x

    def into_digital(self, x: Tensor) -> Tensor:
        """Values that leave the analog part, in the type of a model of a half type; others as they are."""
        return x.to(self.number_type.dtype) if is_half(self.number_type.dtype) else x
