"""Parameter groups for a prepared model, or for any other."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from hrat.errors import TrainingError
from hrat.nn import CrossbarLayer, Scale
from hrat.training.options import FitOptions

__all__ = ["build_optimizers", "parameter_groups"]

SCALE_LR = 0.3
"""Scales start near their place. At the pace of the weights or faster they let the network lean on clipping, which
costs FC-4 on MNIST 0.2 points (chosen on 5,000 held-out training images)."""
SCALE_LR_BESIDE_SGD = 6e-4
"""Learning rate of the scales where that of the weights is one of SGD, which says nothing of it: as with AdamW."""


def parameter_groups(
    model: nn.Module, *, lr: float, weight_decay: float = 0.0, scale_lr: float | None = None
) -> list[dict[str, Any]]:
    """Groups for a torch optimiser: weights decay; biases, batch norm and learned scales do not.

    A learned scale, weight range or full scale is a logarithm: pulling it towards zero would pull it towards one volt
    per unit, a window of one RMS, or one volt, which means nothing.

    Args:
        model: any module.
        lr: learning rate of weights, biases and batch norm.
        weight_decay: decay of the weights.
        scale_lr: learning rate of scales, weight ranges and full scales of ADCs; `0.3 lr` where none is given.
    """
    logs = {id(p): p for p in _logarithms(model)}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in logs]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if p.ndim >= 2], "lr": lr, "weight_decay": weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "lr": lr, "weight_decay": 0.0},
        {
            "params": [p for p in logs.values() if p.requires_grad],
            "lr": SCALE_LR * lr if scale_lr is None else scale_lr,
            "weight_decay": 0.0,
        },
    ]
    return [group for group in groups if group["params"]]


def build_optimizers(model: nn.Module, options: FitOptions) -> list[torch.optim.Optimizer]:
    """Optimisers by the options: one, or SGD for the weights and AdamW for the learned scales.

    Raises:
        TrainingError: parameters in float16.
    """
    short = next((name for name, p in model.named_parameters() if p.requires_grad and p.dtype is torch.float16), None)
    if short is not None:
        raise TrainingError(
            f"parameter '{short}' is of type float16, in which AdamW's smallest numbers are zero, so that it divides "
            "by them; expected model.float(), with amp=True for products in 16 bits, or a model in bfloat16"
        )
    if options.optimizer == "adamw":
        groups = parameter_groups(model, lr=options.lr, weight_decay=options.weight_decay, scale_lr=options.scale_lr)
        return [torch.optim.AdamW(groups)]
    scale_lr = SCALE_LR_BESIDE_SGD if options.scale_lr is None else options.scale_lr
    groups = parameter_groups(model, lr=options.lr, weight_decay=options.weight_decay, scale_lr=scale_lr)
    logs = {id(p) for p in _logarithms(model)}
    weights = [group for group in groups if id(group["params"][0]) not in logs]
    scales = [group for group in groups if id(group["params"][0]) in logs]
    momentum = options.momentum
    optimizers: list[torch.optim.Optimizer] = [torch.optim.SGD(weights, momentum=momentum, nesterov=momentum > 0)]
    return optimizers + ([torch.optim.AdamW(scales)] if scales else [])


def _logarithms(model: nn.Module) -> list[nn.Parameter]:
    """Learned scales, weight ranges and full scales, each once."""
    logs: dict[int, nn.Parameter] = {}
    for module in model.modules():
        if isinstance(module, Scale):
            logs[id(module.log_alpha)] = module.log_alpha
        elif isinstance(module, CrossbarLayer):
            logs[id(module.log_range)] = module.log_range
            if module.log_tile_adc_V is not None:
                logs[id(module.log_tile_adc_V)] = module.log_tile_adc_V
    return list(logs.values())
