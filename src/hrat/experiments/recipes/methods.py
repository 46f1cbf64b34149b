"""Training methods, side by side: HRAT, the usual ones, and HRAT without each of its two parts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hrat.conversion import prepare
from hrat.experiments.recipes.recipe import Recipe
from hrat.nn import BatchNormForm, PreparedModel, Scale, calibrate
from hrat.spec import HardwareSpec
from hrat.training import ArrayDataset, make_loader

__all__ = ["METHODS", "Method", "VariationAware", "prepared_for", "trainable"]

CALIBRATION_IMAGES = 1000
EXAMPLE_IMAGES = 256


@dataclass(frozen=True)
class Method:
    """One training method."""

    label: str
    restricted: bool
    """Whether the restrictions are in the forward pass of training; where not, the network is mapped afterwards."""
    noise: bool = False
    """Whether noise is injected into the weights of the plain network."""
    fused: bool = True
    learned_scales: bool = True
    first_scale_V: float | None = None
    """First value of every scale, V per digital unit; None: what the recipe says, by the data's peaks."""
    sees: tuple[str, ...] | None = None
    """Restrictions that training knows, by name; None: all. The chip has all of them either way."""


METHODS: dict[str, Method] = {
    "float": Method("float, no chip", restricted=False),
    "plain": Method("plain training, then mapped", restricted=False),
    "variation-aware": Method("variation-aware, then mapped", restricted=False, noise=True),
    "variation-and-limits": Method(
        "variation-aware with bias DAC and clamps",
        restricted=True,
        fused=False,
        learned_scales=False,
        sees=("error", "read_voltage", "swing", "floor", "bias_dac", "input_dac", "adc", "tile_adc"),
    ),
    "hrat-unfused": Method("HRAT unfused, all restrictions", restricted=True, fused=False),
    "hrat-fixed-scales": Method("HRAT with calibrated, fixed scales", restricted=True, learned_scales=False),
    "hrat-no-scales": Method(
        "HRAT without scales (1 V per unit)", restricted=True, learned_scales=False, first_scale_V=1.0
    ),
    "hrat": Method("HRAT", restricted=True),
}


class VariationAware(nn.Module):
    """A plain network with noise injected into its weights in training; in eval mode it is the network as it is.

    Each weight of a linear layer or convolution gets a Gaussian error as large as that of a differential pair,
    `sqrt(2) sigma_rel R` with the largest weight of its layer as window `R`, drawn anew for each batch. The weights are
    those before batch norm is merged: that, and the absence of all other restrictions, is what tells it from HRAT.
    """

    def __init__(self, network: nn.Module, spec: HardwareSpec) -> None:
        super().__init__()
        self.network = network
        self.sigma = relative_pair_error(spec)
        self.noisy_weights = [name for name, p in network.named_parameters() if p.ndim >= 2]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The network's outputs, in training with noise injected into the weights."""
        if not self.training:
            return self.network(*args, **kwargs)
        parameters = dict(self.network.named_parameters())
        noisy = {name: self._with_noise(parameters[name]) for name in self.noisy_weights}
        return functional_call(self.network, noisy, args, kwargs)

    def _with_noise(self, weight: Tensor) -> Tensor:
        noise: Tensor = torch.randn_like(weight) * (self.sigma * weight.detach().abs().amax())
        return weight + noise


def relative_pair_error(spec: HardwareSpec) -> float:
    """Standard deviation of a pair's error as a fraction of the window, in its middle state."""
    from hrat.physics import sigma_S

    middle_S = torch.tensor((spec.device.g_min_S + spec.device.g_max_S) / 2, dtype=torch.float64)
    return math.sqrt(2.0) * float(sigma_S(middle_S, spec.device, spec.programming)) / spec.device.g_range_S


def trainable(method: Method, network: nn.Module, recipe: Recipe, spec: HardwareSpec, train: ArrayDataset) -> nn.Module:
    """The module that is trained: the network, noise-injected or not, or the prepared model."""
    if method.restricted:
        known = spec if method.sees is None else spec.only(*method.sees)
        model = prepared_for(method, network, recipe, known, train)
        if recipe.weights and method.first_scale_V is None:  # a trained network has signals to set scales by
            calibrate(model, _calibration_loader(train))
        return model
    return VariationAware(network, spec) if method.noise else network


def prepared_for(
    method: Method, network: nn.Module, recipe: Recipe, spec: HardwareSpec, train: ArrayDataset
) -> PreparedModel:
    """The network under the restrictions, as the method has them in training."""
    form: BatchNormForm = recipe.batch_norm if method.fused else "unfused"
    example, _ = train[list(range(min(EXAMPLE_IMAGES, len(train))))]
    model = prepare(network, spec, example, scales=recipe.scales, batch_norm=form)
    for module in model.modules():
        if isinstance(module, Scale):
            if method.first_scale_V is not None:
                module.set(method.first_scale_V)
            module.requires_grad_(method.learned_scales)
    return model


def mapped(
    method: Method, trained: nn.Module, recipe: Recipe, spec: HardwareSpec, train: ArrayDataset
) -> PreparedModel:
    """The trained module as a prepared model: itself, or the plain network with calibrated scales and windows."""
    if isinstance(trained, PreparedModel):
        return trained if method.sees is None else _for_the_whole_hardware(method, trained, recipe, spec, train)
    network = trained.network if isinstance(trained, VariationAware) else trained
    assert isinstance(network, nn.Module)
    model = prepared_for(method, network, recipe, spec, train).eval()
    calibrate(model, _calibration_loader(train))
    return model


def _calibration_loader(train: ArrayDataset) -> Any:
    return make_loader(train.subset(min(CALIBRATION_IMAGES, len(train))), 250)


def _for_the_whole_hardware(
    method: Method, trained: PreparedModel, recipe: Recipe, spec: HardwareSpec, train: ArrayDataset
) -> PreparedModel:
    """The trained model on the hardware with all of its restrictions."""
    model = prepared_for(method, recipe.build(), recipe, spec, train)
    model.load_state_dict(trained.state_dict())
    return model.eval()
