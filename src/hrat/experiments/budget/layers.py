"""Figures of each layer: sizes of its signals, their error by each restriction, use of states and codes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from hrat.artifacts import BudgetLayer, DeployedLayer
from hrat.batches import Batch
from hrat.encoding import Readout
from hrat.mapping import deploy
from hrat.nn import PreparedModel, crossbar_layers, restrictions, sampled_chip
from hrat.physics import converter_codes
from hrat.spec import HardwareSpec

__all__ = ["layer_figures"]

QUANTILE = 0.999
MOST_VALUES = 1_000_000
"""Most values for the quantile of a signal; of more every n-th is taken."""

Signals = dict[str, tuple[Tensor, Tensor]]
"""Input and output voltages of each layer, V."""


@torch.no_grad()
def layer_figures(
    model: PreparedModel, spec: HardwareSpec, x: Batch, names: Sequence[str], seed: int
) -> list[BudgetLayer]:
    """Figures of each layer on one batch.

    The signal-to-error ratio of a layer under a restriction is `10 log10(sum y^2 / sum (y' - y)^2)` of its outputs y in
    volts without restrictions and y' with this one in the whole network, errors of the layers before included; it is
    infinite where the restriction changes nothing.

    Args:
        model: a prepared model in eval mode.
        spec: the hardware.
        x: a batch of inputs.
        names: names of the restrictions that are on.
        seed: seed of the chip whose errors are used.
    """
    with restrictions(model, spec.ideal()):
        ideal = _signals(model, x)
    under: dict[str, Signals] = {}
    for name, other in [*((name, spec.only(name)) for name in names), ("all", spec)]:
        with restrictions(model, other), sampled_chip(model, seed):
            under[name] = _signals(model, x)
    # Before the clamps: as the signals are where nothing holds them.
    with restrictions(model, spec.without("read_voltage", "swing")):
        free = _signals(model, x)
    with restrictions(model, spec):
        layers = deploy(model).layers
    return [
        BudgetLayer(
            name=name,
            input_peak_V=_peak(free[name][0]),
            input_clamped=_beyond(free[name][0], spec.device.v_read_V),
            output_peak_V=_peak(free[name][1]),
            output_clamped=_beyond(free[name][1], spec.periphery.v_swing_V),
            snr_dB={other: _snr_dB(ideal[name][1], signals[name][1]) for other, signals in under.items()},
            **_use(layers[name], spec),
        )
        for name in layers
        if name in ideal
    ]


def _signals(model: PreparedModel, x: Batch) -> Signals:
    """Run the model and keep what enters and leaves each layer."""
    kept: Signals = {}
    with _watched(model, kept):
        x.call(model)
    return kept


@contextmanager
def _watched(model: PreparedModel, kept: Signals) -> Iterator[None]:
    handles = []
    for name, layer in crossbar_layers(model).items():

        def watch(_: Any, args: tuple[Any, ...], out: Tensor, *, name: str = name) -> None:
            kept.setdefault(name, (args[0].detach().clone(), out.detach().clone()))

        handles.append(layer.register_forward_hook(watch))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _peak(voltage_V: Tensor) -> float:
    values = voltage_V.abs().flatten().double()
    values = values[:: max(1, len(values) // MOST_VALUES)]
    return float(values.kthvalue(max(1, math.ceil(QUANTILE * len(values)))).values)


def _beyond(voltage_V: Tensor, limit_V: float) -> float:
    return float((voltage_V.abs() > limit_V).double().mean())


def _snr_dB(wanted_V: Tensor, got_V: Tensor) -> float:
    error = float((got_V - wanted_V).double().square().sum())
    power = float(wanted_V.double().square().sum())
    return math.inf if error == 0 else 10 * math.log10(power / error) if power > 0 else -math.inf


def _use(layer: DeployedLayer, spec: HardwareSpec) -> dict[str, Any]:
    """Use of the states and of the bias DAC's codes."""
    g_S = torch.cat([layer.g_pos_S.flatten(), layer.g_neg_S.flatten()]).double()
    states = torch.tensor(spec.device.states_S, dtype=torch.float64)
    if spec.device.n_states is None:  # continuous: as if the window had 256 states
        states = torch.linspace(float(states[0]), float(states[-1]), 256, dtype=torch.float64)
    counts = torch.bucketize(g_S, (states[1:] + states[:-1]) / 2).bincount(minlength=len(states)).double()
    shares = counts[counts > 0] / counts.sum()
    negatives_S = Readout.of(spec).for_each_weight(layer.g_neg_S, layer.array_shape[2])
    difference = (layer.g_pos_S - negatives_S).abs()
    at_edge = difference >= (1 - 1e-6) * float(difference.amax())
    codes_used, saturated = 0, 0.0
    periphery = spec.periphery
    if layer.bias_codes is not None and layer.bias_V is not None and periphery.bias_dac_bits is not None:
        top = int(converter_codes(torch.tensor([math.inf]), periphery.bias_dac_bits, periphery.v_bias_V))
        codes_used = len(layer.bias_codes.unique())
        saturated = float((layer.bias_codes.abs() == top).double().mean())
    return {
        "states_used": int((counts > 0).sum()),
        "states_bits": float(-(shares * shares.log2()).sum()),
        "weights_at_edge": float(at_edge.double().mean()),
        "bias_codes_used": codes_used,
        "bias_saturated": saturated,
    }
