"""Scales and weight ranges from data: how a network that was trained without restrictions is mapped.

HRAT does not need it, since it learns both; the baselines do, and so does a model that was trained elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx

from hrat.encoding import has_window, quantise_fraction
from hrat.errors import ConversionError
from hrat.nn.convert import PreparedModel, layers_with_scales, restrictions
from hrat.nn.layers import CrossbarLayer
from hrat.nn.signals import InputDac, Scale
from hrat.physics import sigma_S

__all__ = ["calibrate", "calibrate_ranges"]

RANGES_TRIED = torch.linspace(1.0, 8.0, 71, dtype=torch.float64)
"""Windows to try, in units of the weights' root mean square."""


@torch.no_grad()
def calibrate(model: PreparedModel, batches: Iterable[Any], *, quantile: float = 0.999) -> None:
    """Set every scale so that the signal's peak just meets the limit of its voltage, and the best weight ranges.

    Runs the batches through the model in eval mode with all restrictions off. A signal that drives a crossbar may
    reach `v_read_V`, one that leaves an amplifier `v_swing_V`; the tighter one decides.

    Args:
        model: a prepared model.
        batches: inputs, or `(input, label)` pairs as a loader yields them; a few hundred images are enough.
        quantile: the part of the values that must lie within the limit.

    Raises:
        ConversionError: no batch was given.
    """
    graph = model.graph
    peaks: dict[str, tuple[Tensor, float]] = {}  # key -> (peak in normal scale, limit in volts)
    handles = []
    for key, module, which, scale_name, limit in _probes(model):

        def watch(
            _module: Any,
            args: tuple[Any, ...],
            out: Tensor,
            *,
            key: str = key,
            which: str = which,
            scale_name: str = scale_name,
            limit: float = limit,
        ) -> None:
            scale = graph.get_submodule(scale_name)
            assert isinstance(scale, Scale)
            alpha = scale()
            voltage = args[0] if which == "in" else out
            peak = _peak(voltage, alpha, quantile)
            before = peaks.get(key)
            peaks[key] = (peak if before is None else torch.maximum(before[0], peak), limit)

        handles.append(module.register_forward_hook(watch))
    was_training = model.training
    try:
        with restrictions(model, model.spec.ideal()):
            model.eval()
            for batch in batches:
                model(batch[0] if isinstance(batch, tuple | list) else batch)
    finally:
        for handle in handles:
            handle.remove()
        model.train(was_training)
    if not peaks:
        raise ConversionError("calibration needs at least one batch, got none")
    chosen: dict[str, Tensor] = {}
    for key, (peak, limit) in peaks.items():
        scale_name = key.split("|")[0]
        alpha = limit / peak.clamp(min=1e-12)
        chosen[scale_name] = torch.minimum(chosen[scale_name], alpha) if scale_name in chosen else alpha
    for scale_name, alpha in chosen.items():
        scale = graph.get_submodule(scale_name)
        assert isinstance(scale, Scale)
        scale.set(alpha)
    calibrate_ranges(model)


@torch.no_grad()
def calibrate_ranges(model: PreparedModel) -> None:
    """Set each layer's window so that rounding, clipping and programming error together are least.

    The expected square error of a layer's weights is that of rounding and clipping plus the variance of the pairs,
    `2 sigma^2 R^2`; the best of 71 windows is taken. Not used where the spec has no window.
    """
    if not has_window(model.spec):
        return
    spec = model.spec
    for layer, alpha_in, alpha_out in layers_with_scales(model):
        weight = layer.fused(alpha_in, alpha_out).weight.double()
        rms = weight.square().mean().sqrt().clamp(min=1e-30)
        middle = torch.tensor((spec.device.g_min_S + spec.device.g_max_S) / 2, dtype=torch.float64)
        pair_variance = 2 * (float(sigma_S(middle, spec)) / spec.device.g_range_S) ** 2
        losses = []
        for in_rms in RANGES_TRIED:
            window = in_rms.to(weight.device) * rms
            realised = quantise_fraction(weight / window, spec.device) * window
            losses.append((realised - weight).square().mean() + pair_variance * window**2)
        best = RANGES_TRIED[int(torch.stack(losses).argmin())]
        layer.log_range.copy_(best.log())


def _probes(model: PreparedModel) -> Iterable[tuple[str, Any, str, str, float]]:
    """(key, module to watch, its "in" or "out", scale, limit) for every place where a signal meets a limit."""
    v_read_V, v_swing_V = model.spec.device.v_read_V, model.spec.periphery.v_swing_V
    for node in model.graph.graph.nodes:
        if node.op != "call_module":
            continue
        module = model.graph.get_submodule(str(node.target))
        if isinstance(module, InputDac):
            name = _scale_name(node.args[1])
            yield f"{name}|{node.name}", module, "out", name, v_read_V
        elif isinstance(module, CrossbarLayer):
            name_in, name_out = _scale_name(node.args[1]), _scale_name(node.args[2])
            yield f"{name_in}|{node.name}.in", module, "in", name_in, v_read_V
            yield f"{name_out}|{node.name}.out", module, "out", name_out, v_swing_V


def _scale_name(node: fx.Node) -> str:
    return _scale_name(node.args[0]) if node.op == "call_function" else str(node.target)  # type: ignore[arg-type]


def _peak(voltage: Tensor, alpha: Tensor, quantile: float) -> Tensor:
    """Quantile of the magnitude in normal scale: a scalar, or one for each channel of a scale that has them."""
    if alpha.ndim == 0:
        values = voltage.abs().reshape(1, -1)
    elif voltage.shape[1] == alpha.numel():
        values = voltage.abs().transpose(0, 1).flatten(1)
    else:  # behind a flatten: a channel is a run of positions
        values = voltage.abs().reshape(voltage.shape[0], alpha.numel(), -1).transpose(0, 1).flatten(1)
    rank = max(1, int(quantile * values.shape[1]))
    return values.kthvalue(rank, dim=1).values.reshape(alpha.shape) / alpha
