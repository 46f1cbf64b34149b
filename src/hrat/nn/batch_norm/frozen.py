"""Batch norm whose statistics and affine terms are given: it is the same function in training and eval, for good."""

from __future__ import annotations

from typing import Self

from torch import Tensor, nn

__all__ = ["FrozenBatchNorm"]


class FrozenBatchNorm(nn.BatchNorm2d):
    """Batch norm in eval mode for good, of inputs `(batch, channels, ...)`; its four tensors are buffers."""

    def __init__(self, *tensors: Tensor, eps: float) -> None:
        """Hold weight, bias, running mean and running variance, `(channels,)` each, not copies of them."""
        weight, bias, running_mean, running_var = tensors
        super().__init__(len(weight), eps, affine=False, device=weight.device, dtype=weight.dtype)
        for name, tensor in (("weight", weight), ("bias", bias)):
            delattr(self, name)
            self.register_buffer(name, tensor)
        self.running_mean, self.running_var = running_mean, running_var
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        del mode
        return super().train(False)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept inputs of any number of dimensions."""
