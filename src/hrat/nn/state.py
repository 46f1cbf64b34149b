"""Small switches on a prepared model: batch norm frozen, strength of the noise, a certain chip's error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from hrat.errors import ConversionError
from hrat.nn.functional import draw_pair_error
from hrat.nn.layers import CrossbarLayer
from hrat.nn.prepared import PreparedModel, layers_with_scales
from hrat.nn.signals import IslandBatchNorm
from hrat.physics import has_error

if TYPE_CHECKING:
    from hrat.artifacts import ProgrammedChip

__all__ = ["freeze_batch_norm", "sampled_chip", "set_noise_strength", "use_chip"]


def freeze_batch_norm(model: nn.Module, frozen: bool = True) -> None:
    """Let batch norm use its running statistics in training too, so that training and eval are the same function."""
    for module in model.modules():
        if isinstance(module, CrossbarLayer | IslandBatchNorm):
            module.batch_norm_frozen = frozen


def set_noise_strength(model: nn.Module, strength: float) -> None:
    """Scale the programming error drawn in training, 0 for none, 1 for that of the spec."""
    for module in model.modules():
        if isinstance(module, CrossbarLayer):
            module.noise_strength.fill_(strength)


@contextmanager
def use_chip(model: nn.Module, chip: ProgrammedChip, index: int = 0) -> Iterator[None]:
    """Give the model the programming errors of one chip, so that in eval mode it computes what that chip does.

    That holds for the weights that the chip was deployed from: a model that was trained further needs a new deployment.

    Raises:
        ConversionError: the chip has a layer that the model lacks, or of another shape.
    """
    if not 0 <= index < chip.n_chips:
        raise ConversionError(f"there is no chip {index}: expected an index from 0 to {chip.n_chips - 1}")
    layers = {name: m for name, m in model.named_modules() if isinstance(m, CrossbarLayer)}
    chosen: list[CrossbarLayer] = []
    try:
        for name, programmed in chip.layers.items():
            # A prepared model holds its layers in `graph`; the chip knows them by the names within.
            layer = layers.get(name, layers.get(f"graph.{name}"))
            target = chip.deployment.layers[name]
            if layer is None or layer.geometry != target.geometry:
                raise ConversionError(f"chip layer '{name}' ({target.geometry}) is not a layer of this model")
            like = layer.weight
            error_pos = (programmed.g_pos_S[index] - target.g_pos_S).to(like.device, like.dtype)
            error_neg = (programmed.g_neg_S[index] - target.g_neg_S).to(like.device, like.dtype)
            layer.fixed_error = (
                layer.geometry.from_matrix(error_pos).contiguous(),
                layer.geometry.from_matrix(error_neg).contiguous(),
            )
            chosen.append(layer)
        yield
    finally:
        for layer in chosen:
            layer.fixed_error = None


@contextmanager
@torch.no_grad()
def sampled_chip(model: nn.Module, seed: int) -> Iterator[None]:
    """Give the model the errors of a random chip for a while: how it would do if it were deployed as it is now.

    The errors come from the same model as those of `hrat.program`, but the stream of random numbers is another one:
    chip `seed` here is not chip `seed` there. A model without crossbar layers is left as it is.
    """
    layers = list(layers_with_scales(model)) if isinstance(model, PreparedModel) else []
    generators: dict[torch.device, torch.Generator] = {}
    try:
        for layer, alpha_in, alpha_out in layers:
            if has_error(layer.spec):
                device = layer.weight.device
                generator = generators.setdefault(device, torch.Generator(device).manual_seed(seed))
                fraction = layer.targets(alpha_in, alpha_out).fraction
                layer.fixed_error = draw_pair_error(fraction, layer.spec, generator=generator)
        yield
    finally:
        for layer, _, _ in layers:
            layer.fixed_error = None
