"""brevitas: quantisation-aware training without any analog hardware, hence a lower mark for those that simulate it."""

from brevitas.nn import QuantConv2d, QuantLinear
from torch import Tensor, nn

from adapters.network import NetworkAdapter, replace_layers

BITS = 4


def linear(layer: nn.Linear) -> nn.Module:
    """With 4-bit weights, one scale for the whole matrix."""
    return QuantLinear(layer.in_features, layer.out_features, bias=True, weight_bit_width=BITS)


def conv(layer: nn.Conv2d) -> nn.Module:
    """With 4-bit weights, one scale for all."""
    return QuantConv2d(
        layer.in_channels, layer.out_channels, layer.kernel_size, padding=layer.padding, weight_bit_width=BITS
    )


class Adapter(NetworkAdapter):
    """4-bit weights; float activations and biases."""

    package = "brevitas"
    note = "4-bit weights only: no noise, no converters"

    def convert(self, network: nn.Module, x: Tensor) -> nn.Module:
        """Its layers for those of PyTorch."""
        return replace_layers(network, linear, conv)
