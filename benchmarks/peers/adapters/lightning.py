"""aihwkit-lightning."""

from aihwkit_lightning.nn.conversion import convert_to_analog
from aihwkit_lightning.optim import AnalogOptimizer
from aihwkit_lightning.simulator.configs import (
    TorchInferenceRPUConfig,
    WeightNoiseInjectionType,
    WeightQuantizationType,
)
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from adapters.network import NetworkAdapter


class Adapter(NetworkAdapter):
    """4-bit weights with noise, each column over its own range; aihwkit's default converters, here off by default."""

    package = "aihwkit-lightning"
    note = "no noise outside training: inference is that of 4-bit weights and converters"

    def convert(self, network: nn.Module, x: Tensor) -> nn.Module:
        """All linear layers and convolutions become analog."""
        config = TorchInferenceRPUConfig()
        config.modifier.quantization_type = WeightQuantizationType.DISCRETIZE_PER_CHANNEL
        config.modifier.res = 2**4 - 2
        config.modifier.noise_type = WeightNoiseInjectionType.ADD_NORMAL_PER_CHANNEL
        config.modifier.std_dev = 0.05
        config.forward.inp_res = 2**7 - 2
        config.forward.out_res = 2**9 - 2
        config.forward.out_bound = 12.0
        config.pre_post.input_range.enable = True  # both converters need it
        return convert_to_analog(network, config)

    def optimizer(self, model: nn.Module, lr: float) -> Optimizer:
        """Its own, a wrapper of SGD."""
        return AnalogOptimizer(SGD, model.analog_layers, model.parameters(), lr=lr)
