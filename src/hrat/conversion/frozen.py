"""Batch norms that were frozen by their authors: modules of buffers, as torchvision, detectron2 and timm have them.

They compute `x * scale + shift` from four buffers, in which no batch norm is seen any more. Each becomes a batch norm
that stays in eval mode, so that it fuses as any other.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hrat.nn import FrozenBatchNorm

__all__ = ["as_batch_norm", "is_frozen_batch_norm"]

_TENSORS = ("weight", "bias", "running_mean", "running_var")
_USUAL_EPS = 1e-5
"""That of forms which have it in their forward pass alone."""


def is_frozen_batch_norm(module: nn.Module) -> bool:
    """Whether a module is a batch norm with buffers in the place of parameters, by its name, its parts and its results.

    Behind the batch norm it may have further modules, such as an activation.
    """
    buffers = dict(module.named_buffers(recurse=False))
    if "FrozenBatchNorm" not in type(module).__name__ or isinstance(module, _BatchNorm):
        return False
    if not set(_TENSORS) <= buffers.keys() or list(module.parameters(recurse=False)):
        return False
    replacement = as_batch_norm(module, "").eval()
    weight = buffers["weight"]
    probe = torch.linspace(-2, 2, 2 * len(weight), dtype=weight.dtype, device=weight.device).view(2, -1, 1, 1)
    was_training = module.training
    with torch.no_grad():
        same = torch.allclose(module.eval()(probe), replacement(probe.clone()), rtol=1e-4, atol=1e-5)
    module.train(was_training)
    return same


def as_batch_norm(module: nn.Module, name: str) -> nn.Module:
    """The same as a batch norm that stays in eval mode, of the same buffers, with what the module has behind it."""
    del name
    tensors = (cast(Tensor, getattr(module, part)) for part in _TENSORS)
    norm = FrozenBatchNorm(*tensors, eps=float(getattr(module, "eps", _USUAL_EPS)))
    behind = list(module.children())
    return nn.Sequential(norm, *behind) if behind else norm
