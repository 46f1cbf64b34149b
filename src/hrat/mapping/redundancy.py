"""Several pairs for each weight of a layer, in parallel, where its errors hurt most.

A layer with `k` copies has `k` word lines for each input, one copy of all rows after the other. Currents add up on the
bit lines, and the feedback resistance is `R_f / k`: a weight is the mean of its `k` pairs, and the independent part of
its error falls with the square root of `k`. Nothing else changes: the weight, its states and the bias are the same.

Which layers: the loss on training images is measured with the programming error in one layer alone. By how much it
grows is taken to go with the variance of that layer's error, `S / k`, so that the next copy of a layer with `n` devices
brings `S / n (1/k - 1/(k + 1))` for each extra device. Copies are given one after another to the layer that gains most
for a device, as long as the devices last.

Limits: the loss need not go with the variance (saturation, shifts that all copies share), and layers are taken one by
one. Training does not know of the copies: it counts on the error of a single pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hrat.artifacts import DeployedLayer, Deployment
from hrat.batches import Batch, cross_entropy, split_batch
from hrat.circuit import input_names
from hrat.errors import ConversionError
from hrat.nn import PreparedModel, crossbar_layers, draw_pair_error, layers_with_scales
from hrat.physics import has_error
from hrat.seeds import check_seed

__all__ = ["Redundancy", "choose_redundancy", "replicate"]

Loss = Callable[[Any, Any], Tensor]


def replicate(deployment: Deployment, copies: Mapping[str, int]) -> Deployment:
    """Give some layers of a deployment several pairs for each weight.

    Args:
        deployment: the targets.
        copies: pairs for each weight, by layer; those that are not named stay as they are.

    Raises:
        ConversionError: an unknown layer, or a number below 1.
    """
    layers = dict(deployment.layers)
    for name, count in copies.items():
        if name not in layers:
            raise ConversionError(f"there is no layer {name!r}; expected some of {', '.join(layers)}")
        if count < 1:
            raise ConversionError(f"layer '{name}': expected 1 copy or more, got {count}")
        if count > 1 and layers[name].tile_adc_V is not None:
            raise ConversionError(
                f"layer '{name}': {count} copies of its word lines would lie on other tiles than those whose ADCs "
                "training knew (periphery.partial_sums is adc); expected 1 copy, or tiles whose currents are summed"
            )
        if count > 1:
            layers[name] = _copied(layers[name], count)
    return replace(deployment, layers=layers)


def _copied(layer: DeployedLayer, count: int) -> DeployedLayer:
    return replace(
        layer,
        g_pos_S=layer.g_pos_S.repeat(1, count, 1),
        g_neg_S=layer.g_neg_S.repeat(1, count, 1),
        row_inputs=layer.input_order.repeat(1, count),
        r_f_ohm=layer.r_f_ohm / count,
    )


@dataclass(frozen=True, kw_only=True)
class Redundancy:
    """Which layers get more pairs, and why."""

    copies: dict[str, int]
    """Pairs for each weight, for `replicate`."""
    growth: dict[str, float]
    """Growth of the loss by the error of each layer alone, mean over the trials."""
    devices: dict[str, int]
    """Memristors of each layer with one pair for each weight."""
    loss: float
    """Loss without any error."""

    @property
    def extra_devices(self) -> int:
        """Memristors that the copies take."""
        return sum(count * (self.copies[name] - 1) for name, count in self.devices.items())

    def __str__(self) -> str:
        """A table."""
        lines = [
            f"{self.extra_devices:,} extra devices; loss without error {self.loss:.4f}",
            f"  {'layer':<16} {'devices':>10} {'loss grows by':>13} {'copies':>6}",
        ]
        for name, count in self.devices.items():
            lines.append(f"  {name:<16} {count:>10,} {self.growth[name]:>13.5f} {self.copies[name]:>6}")
        return "\n".join(lines)

    __repr__ = __str__


@torch.no_grad()
def choose_redundancy(
    model: PreparedModel,
    loader: Iterable[Any],
    *,
    extra_devices: int,
    trials: int = 8,
    images: int = 2000,
    seed: int = 0,
    loss: Loss = cross_entropy,
    label_key: str | None = None,
) -> Redundancy:
    """Which layers should have several pairs for each weight, by their measured sensitivity.

    Args:
        model: what `hrat.prepare` returned, trained.
        loader: batches with labels, as `hrat.fit` takes them; training images, so that test images stay unseen.
        extra_devices: memristors that may be spent in all.
        trials: random chips for each layer.
        images: number of images used.
        seed: seed of the chips' errors.
        loss: function of `(output, label)`.
        label_key: key of the label in batches that are dicts, in place of `labels` or `label`.

    Raises:
        DataError: batches without a label.
        ConversionError: the model is not prepared, its hardware has no error, or the loader is empty.
    """
    if not isinstance(model, PreparedModel):
        raise ConversionError(f"expected a model that hrat.prepare returned, got {type(model).__name__}")
    if not has_error(model.spec.programming, model.spec.faults):
        raise ConversionError(
            f"the hardware '{model.spec.name}' has no programming error (programming.limit_error), so that copies "
            "bring nothing"
        )
    if extra_devices < 0 or trials < 1:
        raise ConversionError(f"expected 0 extra devices and 1 trial or more, got {extra_devices} and {trials}")
    batches: list[Batch] = []
    count = 0
    for raw in loader:
        batch = split_batch(raw, label_key=label_key, takes=input_names(model.circuit.nodes)).labelled()
        batches += [batch] if count + batch.rows <= images else batch.cut(slice(images - count))
        count += batches[-1].rows
        if count >= images:
            break
    if not count:
        raise ConversionError("the loader yields no images; expected one of (input, label)")
    seed = check_seed(seed)
    was_training = model.training
    model.eval()
    try:
        plain = _loss(model, batches, loss)
        growth = {
            name: sum(losses) / trials - plain for name, losses in _losses(model, batches, loss, trials, seed).items()
        }
    finally:
        model.train(was_training)
    devices = {name: layer.readout.n_devices for name, layer in crossbar_layers(model).items()}
    return Redundancy(copies=_spend(growth, devices, extra_devices), growth=growth, devices=devices, loss=plain)


def _losses(model: PreparedModel, batches: list[Batch], loss: Loss, trials: int, seed: int) -> dict[str, list[float]]:
    """The loss with the error of one layer alone, for each layer and trial."""
    losses: dict[str, list[float]] = {}
    generators: dict[torch.device, torch.Generator] = {}
    of_layer = zip(crossbar_layers(model), layers_with_scales(model), strict=True)
    for name, (layer, alpha_in, alpha_out) in of_layer:
        place = layer.weight.device
        generator = generators.setdefault(place, torch.Generator(place).manual_seed(seed))
        fraction = layer.targets(alpha_in, alpha_out).fraction
        losses[name] = []
        try:
            for _ in range(trials):
                layer.fixed_error = draw_pair_error(fraction, layer.geometry, model.spec, generator=generator)
                losses[name].append(_loss(model, batches, loss))
        finally:
            layer.fixed_error = None
    return losses


def _loss(model: PreparedModel, batches: list[Batch], loss: Loss) -> float:
    total, count = 0.0, 0
    for batch in batches:
        total += float(loss(batch.call(model), batch.label)) * batch.rows
        count += batch.rows
    return total / count


def _spend(growth: Mapping[str, float], devices: Mapping[str, int], extra: int) -> dict[str, int]:
    """Copies of each layer: the next one goes where it brings most for a device, as long as the devices last."""
    copies = dict.fromkeys(devices, 1)
    while True:
        affordable = [name for name, count in devices.items() if count <= extra and growth[name] > 0]
        if not affordable:
            return copies
        best = max(affordable, key=lambda name: growth[name] / devices[name] / (copies[name] * (copies[name] + 1)))
        copies[best] += 1
        extra -= devices[best]
