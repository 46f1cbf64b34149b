"""Laws 1 to 3: a trained network, its chip and the original are one function."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hrat.artifacts import ProgrammedChip
from hrat.conversion import ROUNDINGS, example_args, moved_by_rounding
from hrat.encoding import Geometry
from hrat.nn import PreparedModel, Scale, restrictions, use_chip
from hrat.simulation import simulate
from hrat.testing.compare import call, compared, named_tensors
from hrat.testing.report import Finding, merged, unchecked

__all__ = [
    "TOLERANCE",
    "change_scales",
    "nothing_is_lost",
    "patches_are_the_operation",
    "scale_is_a_gauge",
    "trained_is_deployed",
]

TOLERANCE = 1e-12
"""Largest difference, relative to the largest output, in float64."""
SCALE_SPREAD = 2.8
"""Width in which the logarithms of changed scales lie: each scale moves by a factor of up to four."""


def trained_is_deployed(prepared: nn.Module, chip: ProgrammedChip, inputs: Any, bound: float = TOLERANCE) -> Finding:
    """Law 1: the model in eval mode, with a chip's errors, computes what the behavioural solver says of that chip.

    Args:
        prepared: what `hrat.prepare` returned, with the weights that the chip was deployed from.
        chip: one or several chips; each is compared.
        inputs: a tensor `(images, ...)`, a tuple of arguments, or a dict of keyword arguments.
        bound: largest difference, relative to the largest output.

    Raises:
        ConversionError: the chip is not one of this model.
    """
    claim = "what you train is what you deploy"
    value = simulate(chip, inputs).value
    findings = []
    for index in range(chip.n_chips):
        with use_chip(prepared, chip, index):
            returned = call(prepared, inputs)
        outputs = [tensor for _, tensor in named_tensors(returned)]
        simulated = [tensor[index] for _, tensor in named_tensors(value)]
        findings.append(compared("law 1", claim, outputs, simulated, bound, where=f"chip {index}, output"))
    return merged(findings)


def nothing_is_lost(model: nn.Module, prepared: PreparedModel, inputs: Any, bound: float = TOLERANCE) -> Finding:
    """Law 2: with every restriction off the prepared model is the original one, in eval mode.

    Args:
        model: the original network.
        prepared: what `hrat.prepare` made of it, with the same weights.
        inputs: inputs as the network takes them.
        bound: largest difference, relative to the largest output.
    """
    claim, expected = "nothing is lost with every restriction off", call(model, inputs)
    with restrictions(prepared, prepared.spec.ideal()):
        finding = compared("law 2", claim, call(prepared, inputs), expected, bound)
    if finding.ok:
        return finding
    largest = max((float(out.abs().max()) for _, out in named_tensors(expected) if out.numel()), default=0.0)
    moved = moved_by_rounding(model, example_args(inputs)) / max(1.0, largest)
    if finding.error is not None and bound < finding.error <= ROUNDINGS * moved:
        return unchecked("law 2", claim, f"rounding alone moves the original's own outputs by {moved:.2g}")
    return finding


def scale_is_a_gauge(prepared: PreparedModel, inputs: Any, seed: int = 5, bound: float = TOLERANCE) -> Finding:
    """Law 3: with every restriction off the outputs do not depend on the scales. The model is left as it is.

    Args:
        prepared: what `hrat.prepare` returned.
        inputs: inputs as the network takes them.
        seed: seed of the other scales.
        bound: largest difference, relative to the largest output.
    """
    with restrictions(prepared, prepared.spec.ideal()):
        before = call(prepared, inputs)
        with other_scales(prepared, seed):
            after = call(prepared, inputs)
    return compared("law 3", "scale is a gauge", after, before, bound)


def patches_are_the_operation(geometry: Geometry, weight: Tensor, inputs: Tensor, bound: float = TOLERANCE) -> Finding:
    """Whether what the bit lines yield from the word lines is the operation that PyTorch has.

    Args:
        geometry: geometry of a layer.
        weight: its weight, in PyTorch's layout.
        inputs: `(images, in, *space)`.
        bound: largest difference, relative to the largest output.
    """
    lines = geometry.to_matrix(weight).mT @ geometry.patches(inputs)  # (batch, groups, cols, positions)
    want = geometry.apply(inputs, weight)
    product = lines.squeeze(1).mT if geometry.kind == "linear" else lines.flatten(1, 2)
    return compared("patches", "rows times conductances are the operation", product.reshape(want.shape), want, bound)


def change_scales(prepared: nn.Module, seed: int) -> None:
    """Give every signal another scale, each within a factor of four, channel by channel where they are apart."""
    generator = torch.Generator().manual_seed(seed)
    for module in prepared.modules():
        if isinstance(module, Scale):
            alpha = module().detach()
            drawn = torch.rand(module.log_alpha.shape, dtype=torch.float64, generator=generator)
            module.set(alpha * torch.exp(SCALE_SPREAD * (drawn - 0.5)).to(alpha))


@contextmanager
def other_scales(prepared: nn.Module, seed: int) -> Iterator[None]:
    """Run a model with other scales for a while."""
    scales = [module for module in prepared.modules() if isinstance(module, Scale)]
    before = [scale.log_alpha.detach().clone() for scale in scales]
    try:
        change_scales(prepared, seed)
        yield
    finally:
        with torch.no_grad():
            for scale, log_alpha in zip(scales, before, strict=True):
                scale.log_alpha.copy_(log_alpha)
