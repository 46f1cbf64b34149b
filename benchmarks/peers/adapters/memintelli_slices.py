"""MemIntelli."""

from memintelli.NN_layers import Conv2dMem, LinearMem
from memintelli.pimpy import DPETensor
from torch import Tensor, nn

from adapters.network import NetworkAdapter, replace_layers

SLICES = (1, 1, 2)
"""4 bits: the sign, one bit, two bits; each slice on an array of its own, of weights and of inputs alike."""


class Adapter(NetworkAdapter):
    """4-bit weights and inputs in slices, 64x64 arrays, 5 % conductance noise in each read, 10-bit ADC."""

    package = "memintelli"
    note = "4-bit inputs too, each slice of them on its own"

    def convert(self, network: nn.Module, x: Tensor) -> nn.Module:
        """Its layers for those of PyTorch."""
        engine = DPETensor(
            var=0.05,
            g_level=2**2,
            rdac=2**2,
            radc=2**10,
            weight_quant_gran=(64, 64),
            input_quant_gran=(1, 64),
            weight_paral_size=(64, 64),
            input_paral_size=(1, 64),
            device="cpu",
        )

        def linear(layer: nn.Linear) -> nn.Module:
            return LinearMem(engine, layer.in_features, layer.out_features, SLICES, SLICES)

        def conv(layer: nn.Conv2d) -> nn.Module:
            return Conv2dMem(
                engine,
                layer.in_channels,
                layer.out_channels,
                layer.kernel_size[0],
                SLICES,
                SLICES,
                padding=layer.padding[0],
            )

        model = replace_layers(network, linear, conv)
        self.after_step(model)  # the weights were copied after its layers were made
        return model

    def after_step(self, model: nn.Module) -> None:
        """Slice the new weights."""
        for module in model.modules():
            if isinstance(module, LinearMem | Conv2dMem):
                module.update_weight()

    def refuses(self, work: str) -> str:
        """VGG-16: the second of its convolutions alone takes some 7 s and 3 GB for a step on two cores."""
        return "one of its 13 convolutions alone takes seconds a step" if work == "vgg16" else ""
