"""Scales and weight ranges from data: how a network that was trained without restrictions is mapped.

HRAT does not need it, since it learns both; the baselines do, and so does a model that was trained elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hrat.batches import Batch, split_batch
from hrat.circuit import OutputRescale, ScaleRef, input_names
from hrat.encoding import has_window
from hrat.errors import ConversionError
from hrat.nn.crossbar_layer import CrossbarLayer
from hrat.nn.prepared import PreparedModel, layers_with_scales, restrictions
from hrat.nn.recurrent import CrossbarRecurrence
from hrat.nn.signals import Scale
from hrat.nn.state import sampled_chip

__all__ = ["calibrate", "calibrate_scales", "calibrate_tile_adcs", "calibrate_windows"]

WINDOWS = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 12.0)
"""Windows to try, in units of the weights' root mean square."""
CHIPS_TRIED = 3
OUTPUT_PEAK = 10.0
"""Largest output to expect of a network that is not trained yet, in digital units: logits are about so large."""
SMALLEST_PART = 1e-3
"""Smallest first full scale of a tile's ADCs, as a part of the spec's; a tile of zeros gets this one."""


@torch.no_grad()
def calibrate(
    model: PreparedModel, batches: Iterable[Any], *, quantile: float = 0.999, label_key: str | None = None
) -> None:
    """Set every scale so that the signal's peak equals its limit in volts, and choose the best window for the weights.

    Runs the batches through the model in eval mode with all restrictions off. A signal that drives a crossbar may
    reach `v_read_V`, one that leaves an amplifier `v_swing_V`; the tighter one decides.

    Args:
        model: a prepared model.
        batches: what a loader yields, with labels or without (`hrat.batches`); a few hundred images are enough.
        quantile: the part of the values that must lie within the limit.
        label_key: key of the label in batches that are dicts, in place of `labels` or `label`.

    Raises:
        ConversionError: no batch was given.
        DataError: a batch is of an unknown kind.
    """
    inputs = _inputs(model, batches, label_key)
    was_training = model.training
    model.eval()
    try:
        _set_scales(model, inputs, quantile, trained=True)
        calibrate_tile_adcs(model, lambda: [x.call(model) for x in inputs], quantile=quantile)
        calibrate_windows(model, inputs)
    finally:
        model.train(was_training)


@torch.no_grad()
def calibrate_scales(
    model: PreparedModel,
    batches: Iterable[Any],
    *,
    quantile: float = 0.999,
    trained: bool = True,
    label_key: str | None = None,
) -> None:
    """Set every scale so that the signal's peak equals its limit in volts: the first half of `calibrate`.

    Args:
        model: a prepared model.
        batches: what a loader yields, with labels or without (`hrat.batches`).
        quantile: the part of the values that must lie within the limit.
        trained: False for a model whose batch norms have seen no data: they normalise by the batch then, and forget it;
            and outputs, which grow in training, get room for values of `OUTPUT_PEAK`.
        label_key: key of the label in batches that are dicts, in place of `labels` or `label`.

    Raises:
        ConversionError: no batch was given.
        DataError: a batch is of an unknown kind.
    """
    inputs = _inputs(model, batches, label_key)
    was_training = model.training
    model.train(not trained)
    try:
        _set_scales(model, inputs, quantile, trained=trained)
    finally:
        model.train(was_training)


def _inputs(model: PreparedModel, batches: Iterable[Any], label_key: str | None) -> list[Batch]:
    """The batches, on the model's device."""
    device, takes = next(model.parameters()).device, input_names(model.circuit.nodes)
    inputs = [
        split_batch(raw, label_key=label_key, takes=takes).changed(lambda tensor: tensor.to(device)) for raw in batches
    ]
    if not inputs:
        raise ConversionError("calibration needs at least one batch, got none")
    return inputs


def _set_scales(model: PreparedModel, inputs: list[Batch], quantile: float, *, trained: bool) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.random.fork_rng():  # of dropout
        fitting = _fitting_scales(model, inputs, quantile)
    model.load_state_dict(before)  # statistics that the batch has moved on
    read = {} if trained else _scales_of_outputs(model)
    room = model.spec.periphery.v_swing_V / OUTPUT_PEAK
    for scale, alpha in fitting:
        scale.set(alpha.clamp(max=room / read[scale]) if scale in read else alpha)


def _scales_of_outputs(model: PreparedModel) -> dict[Scale, float]:
    """Scales of the values that leave the chip, each with the largest factor that such a value has it by."""
    refs = [model.circuit.tensors[node.alpha.key] for node in model.circuit.nodes if isinstance(node, OutputRescale)]
    factors: dict[Scale, float] = {}
    for ref in refs:
        scale = model.graph.get_submodule(ref.scale) if isinstance(ref, ScaleRef) else None
        if isinstance(ref, ScaleRef) and isinstance(scale, Scale):
            factors[scale] = max(ref.factor, factors.get(scale, 0.0))
    return factors


def _fitting_scales(model: PreparedModel, inputs: list[Batch], quantile: float) -> list[tuple[Scale, Tensor]]:
    """Each scale with the largest value that keeps its signal within all the limits that it meets."""
    peaks: dict[tuple[str, str], tuple[Tensor, float]] = {}  # (scale, place) -> (peak in digital units, limit in volts)
    handles = []
    for place, module, which, scale_name, limit in _probes(model):
        scale = model.graph.get_submodule(scale_name)
        assert isinstance(scale, Scale)

        def watch(
            _module: Any,
            args: tuple[Any, ...],
            out: Tensor,
            *,
            key: tuple[str, str] = (scale_name, place),
            which: str = which,
            scale: Scale = scale,
            limit: float = limit,
        ) -> None:
            peak = _peak(args[0] if which == "in" else out, scale(), quantile)
            before = peaks.get(key)
            peaks[key] = (peak if before is None else torch.maximum(before[0], peak), limit)

        handles.append(module.register_forward_hook(watch))
    try:
        with restrictions(model, model.spec.ideal()):
            for x in inputs:
                x.call(model)
    finally:
        for handle in handles:
            handle.remove()
    fitting: dict[str, Tensor] = {}
    for (scale_name, _), (peak, limit) in peaks.items():
        alpha = limit / peak.clamp(min=1e-12)
        fitting[scale_name] = torch.minimum(fitting[scale_name], alpha) if scale_name in fitting else alpha
    return [(model.graph.get_submodule(name), alpha) for name, alpha in fitting.items()]  # type: ignore[misc]


@torch.no_grad()
def calibrate_tile_adcs(model: PreparedModel, run: Callable[[], Any], *, quantile: float = 0.999) -> None:
    """Set the full scale of each tile's ADCs to the peak of its partial sums without restrictions.

    At most the spec's `v_tile_adc_V`, and that where full scales are not learned: then nothing is done.

    Args:
        model: a prepared model, in eval mode.
        run: calls the model with some inputs.
        quantile: the part of the values that must lie within the full scale.
    """
    layers = [m for m in model.modules() if isinstance(m, CrossbarLayer) and m.readout.tiles is not None]
    learning = [layer for layer in layers if layer.spec.periphery.learn_tile_adc]
    if not learning:
        return
    peaks: dict[CrossbarLayer, Tensor] = {}

    def watch(layer: CrossbarLayer, partial_V: Tensor) -> None:
        values = partial_V.abs().flatten(1)
        peak = values.kthvalue(max(1, int(quantile * values.shape[1])), dim=1).values
        peaks[layer] = torch.maximum(peaks[layer], peak) if layer in peaks else peak

    for layer in learning:
        layer.watch_partial_sums = partial(watch, layer)
    try:
        with restrictions(model, model.spec.ideal()):
            run()
    finally:
        for layer in learning:
            layer.watch_partial_sums = None
    for layer, peak in peaks.items():
        assert layer.log_tile_adc_V is not None
        largest_V = layer.spec.periphery.v_tile_adc_V
        layer.log_tile_adc_V.copy_(peak.clamp(min=SMALLEST_PART * largest_V, max=largest_V).log())


@torch.no_grad()
def calibrate_windows(model: PreparedModel, inputs: list[Batch]) -> None:
    """Choose the window of the weights that changes the outputs least under all restrictions.

    A wide window loses small weights in rounding and error, a narrow one clips large weights. Each of `WINDOWS`, in
    units of the layers' RMS and at most the largest weight, is tried on a few random chips; the one whose outputs lie
    nearest to those without restrictions is kept, the same for all layers. Not used where the spec has no window.
    """
    if not has_window(model.spec):
        return
    largest = [_largest_in_rms(layer, *alphas) for layer, *alphas in layers_with_scales(model)]
    with restrictions(model, model.spec.ideal()):
        ideal_outputs = [_first_tensor(x.call(model)) for x in inputs]
    losses: list[float] = []
    for window in WINDOWS:
        _set_windows(model, largest, window)
        losses.append(sum(_distance(model, inputs, ideal_outputs, seed) for seed in range(CHIPS_TRIED)))
    _set_windows(model, largest, WINDOWS[losses.index(min(losses))])


def _set_windows(model: PreparedModel, largest: list[float], window: float) -> None:
    for (layer, *_), top in zip(layers_with_scales(model), largest, strict=True):
        layer.log_range.fill_(math.log(min(window, top)))


def _largest_in_rms(layer: CrossbarLayer, alpha_in: Tensor, alpha_out: Tensor) -> float:
    weight = layer.fused_weight(alpha_in, alpha_out).double()
    rms = weight.square().mean().sqrt()
    return float(weight.abs().amax() / rms) if float(rms) > 0 else 1.0


def _distance(model: PreparedModel, inputs: list[Batch], ideal_outputs: list[Tensor], seed: int) -> float:
    """Sum of the squared differences between the outputs of a random chip and those wanted."""
    with sampled_chip(model, seed):
        return sum(
            float((_first_tensor(x.call(model)) - y).square().sum()) for x, y in zip(inputs, ideal_outputs, strict=True)
        )


def _first_tensor(out: Any) -> Tensor:
    while not isinstance(out, Tensor):
        out = next(iter(out.values())) if isinstance(out, dict) else out[0]
    return out


def _probes(model: PreparedModel) -> Iterator[tuple[str, nn.Module, str, str, float]]:
    """(place, module to watch, its "in" or "out", scale, limit) for every place where a signal meets a limit.

    The outputs of DACs are the inputs of layers, and watched there.
    """
    v_read_V, v_swing_V = model.spec.device.v_read_V, model.spec.periphery.v_swing_V
    for call in model.circuit.calls:
        module = model.graph.get_submodule(call.module)
        entering, leaving = (module, "in"), (module, "out")
        if isinstance(module, CrossbarRecurrence):  # whose own input and output are digital
            entering, leaving = (module.word_lines, "out"), (module.amplifiers, "out")
        yield f"{call.node}.in", *entering, call.alpha_in.scale, v_read_V
        yield f"{call.node}.out", *leaving, call.alpha_out.scale, v_swing_V


def _peak(voltage: Tensor, alpha: Tensor, quantile: float) -> Tensor:
    """Quantile of the magnitude in digital units: a scalar, or one for each channel of a scale that has them."""
    if alpha.ndim == 0:
        values = voltage.abs().reshape(1, -1)
    elif voltage.shape[1] == alpha.numel():
        values = voltage.abs().transpose(0, 1).flatten(1)
    else:  # behind a flatten: a channel is a run of positions
        values = voltage.abs().reshape(voltage.shape[0], alpha.numel(), -1).transpose(0, 1).flatten(1)
    rank = max(1, int(quantile * values.shape[1]))
    return values.kthvalue(rank, dim=1).values.reshape(alpha.shape) / alpha
