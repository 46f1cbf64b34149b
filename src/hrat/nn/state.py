"""Switches on a prepared model: batch norm frozen, strength of the noise, errors of a certain chip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

from hrat.encoding import draw_layer_amplifiers, encode_pair
from hrat.errors import ConversionError
from hrat.nn.crossbar_layer import CrossbarLayer
from hrat.nn.device_errors import draw_pair_error
from hrat.nn.prepared import PreparedModel, layers_with_scales
from hrat.nn.signals import DigitalBatchNorm
from hrat.physics import Amplifiers, AnyReads, ChipReads, has_error
from hrat.seeds import check_seed

if TYPE_CHECKING:
    from hrat.artifacts import DeployedLayer, ProgrammedChip, ProgrammedLayer
    from hrat.spec import HardwareSpec

__all__ = ["freeze_batch_norm", "sampled_chip", "set_noise_strength", "use_chip"]


def freeze_batch_norm(model: nn.Module, frozen: bool = True) -> None:
    """Let batch norm use its running statistics in training too, so that training and eval are the same function.

    Batch norms that were frozen in the original network stay so whatever is asked.
    """
    for module in model.modules():
        if isinstance(module, CrossbarLayer | DigitalBatchNorm):
            module.batch_norm_frozen = frozen


def set_noise_strength(model: nn.Module, strength: float) -> None:
    """Scale the programming error drawn in training, 0 for none, 1 for that of the spec."""
    for module in model.modules():
        if isinstance(module, CrossbarLayer):
            module.noise_strength.fill_(strength)


@contextmanager
def use_chip(model: nn.Module, chip: ProgrammedChip, index: int = 0) -> Iterator[None]:
    """Give the model the errors of one chip, so that in eval mode it computes what that chip computes.

    That holds for the weights that the chip was deployed from: a model that was trained further needs a new deployment.
    What differs from reading to reading is that of `hrat.simulate` for the same images in the same order: each call of
    the model goes on where the one before ended.

    Raises:
        ConversionError: the chip has a layer that the model lacks, or of another shape.
    """
    if not 0 <= index < chip.n_chips:
        raise ConversionError(f"there is no chip {index}: expected an index from 0 to {chip.n_chips - 1}")
    layers = {name: m for name, m in model.named_modules() if isinstance(m, CrossbarLayer)}
    chosen: list[CrossbarLayer] = []
    reads = ChipReads(chip.seeds[index])
    counting = _counting_images(model, reads)
    try:
        for name, programmed in chip.layers.items():
            # A prepared model holds its layers in `graph`; the chip knows them by the names within.
            layer = layers.get(name, layers.get(f"graph.{name}"))
            target = chip.deployment.layers[name]
            if layer is None or layer.geometry != target.geometry:
                raise ConversionError(f"chip layer '{name}' ({target.geometry}) is not a layer of this model")
            if layer.spec.array.limit_wires and (target.row_inputs is not None or target.col_outputs is not None):
                raise ConversionError(
                    f"chip layer '{name}' has its lines in another order than the model, whose wires then lose other "
                    "voltages; expected a chip without copies and reordered lines, or ideal wires (array.limit_wires)"
                )
            like = layer.like
            errors = _errors_S(target, programmed[index : index + 1], chip.deployment.spec)
            geometries = layer.geometry, layer.readout.negatives
            error_pos, error_neg = (
                geometry.from_matrix(error_S.to(like.device, like.dtype))
                for geometry, error_S in zip(geometries, errors, strict=True)
            )
            layer.fixed_error = (error_pos.contiguous(), error_neg.contiguous())
            layer.fixed_amplifiers = tuple(
                Amplifiers(*(part.to(like.device, like.dtype) for part in own)) for own in chip.amplifiers(name, index)
            )
            layer.fixed_draw = reads.of_layer(name)
            trim_V = chip.layers[name].trim_V
            layer.fixed_trim_V = None if trim_V is None else trim_V[index].to(like.device, like.dtype)
            chosen.append(layer)
        yield
    finally:
        counting.remove()
        for layer in chosen:
            layer.fixed_error = layer.fixed_amplifiers = layer.fixed_draw = layer.fixed_trim_V = None


def _counting_images(model: nn.Module, reads: ChipReads) -> RemovableHandle:
    """Let each call of the model begin a pass of images behind those of the call before."""
    done = 0

    def begin(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal done
        reads.begin(done)
        done += next((len(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.ndim), 1)

    return model.register_forward_pre_hook(begin, with_kwargs=True)


def _errors_S(target: DeployedLayer, programmed: ProgrammedLayer, spec: HardwareSpec) -> tuple[Tensor, Tensor]:
    """Errors of one chip's pairs against the model's targets, each `(groups, rows, cols)`, S.

    Of several pairs for a weight the model sees the mean.
    """
    achieved_S = (programmed.g_pos_S[0], programmed.g_neg_S[0])
    if target.wanted_S is None:
        wanted_S = (target.g_pos_S, target.g_neg_S)
        pos, neg = (target.collected(a - w) / target.copies for a, w in zip(achieved_S, wanted_S, strict=True))
        return pos, neg
    wanted_S = encode_pair(target.wanted_S / spec.device.g_range_S, spec.device)
    pos, neg = (target.collected(a) / target.copies - w for a, w in zip(achieved_S, wanted_S, strict=True))
    return pos, neg


@contextmanager
@torch.no_grad()
def sampled_chip(model: nn.Module, seed: int) -> Iterator[None]:
    """Give the model the errors of a random chip for a while, as if it were deployed as it is now.

    The errors come from the same model as those of `hrat.program`, but the stream of random numbers is another one:
    chip `seed` here is not chip `seed` there. A model without crossbar layers is left as it is.
    """
    seed = check_seed(seed)
    layers = list(layers_with_scales(model)) if isinstance(model, PreparedModel) else []
    generators: dict[torch.device, torch.Generator] = {}
    try:
        for layer, alpha_in, alpha_out in layers:
            if has_error(layer.spec.programming, layer.spec.faults):
                device = layer.weight.device
                generator = generators.setdefault(device, torch.Generator(device).manual_seed(seed))
                fraction = layer.targets(alpha_in, alpha_out).fraction
                layer.fixed_error = draw_pair_error(fraction, layer.geometry, layer.spec, generator=generator)
        for layer, _, _ in layers:  # behind all devices, whose numbers do not depend on whether amplifiers have errors
            device = layer.weight.device
            generator = generators.setdefault(device, torch.Generator(device).manual_seed(seed))
            layer.fixed_amplifiers = draw_layer_amplifiers(
                layer.readout, layer.spec, layer.like, generator=_always(generator)
            )
            layer.fixed_draw = AnyReads(generator).of_layer(layer.geometry.kind)
        yield
    finally:
        for layer, _, _ in layers:
            layer.fixed_error = layer.fixed_amplifiers = layer.fixed_draw = None


def _always(generator: torch.Generator) -> Callable[[int], torch.Generator]:
    return lambda _: generator
