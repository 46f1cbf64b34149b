"""A linear layer whose weight is kept as `(in, out)`."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["TurnedLinear"]


class TurnedLinear(nn.Linear):
    """`x @ W + b` with `W` of shape `(in, out)`: the parameter of a product, or one that another layer has turned.

    It stays the network's own parameter, so that weights which are tied by transposition stay one.
    """

    def forward(self, input: Tensor) -> Tensor:
        """`(..., in) -> (..., out)`."""
        return F.linear(input, self.weight.t(), self.bias)
