"""aihwkit: what its two tiles share."""

from aihwkit.nn.conversion import convert_to_analog
from aihwkit.optim import AnalogSGD
from aihwkit.simulator.parameters.mapping import MappingParameter
from torch import Tensor, nn
from torch.optim import Optimizer

from adapters.network import Infer, NetworkAdapter

STD_DEV = 0.05
"""Of the weight noise in training, relative to the largest weight."""


def mapping() -> MappingParameter:
    """The largest weight of each column at the largest conductance, as in its own presets.

    Without it the output noise, which is relative to that conductance, drowns the signal and nothing is learned.
    """
    return MappingParameter(weight_scaling_omega=1.0, weight_scaling_columnwise=True)


class AihwkitAdapter(NetworkAdapter):
    """Converters, output noise and noise management as they come: 7-bit DAC, 9-bit ADC, output noise 0.06."""

    package = "aihwkit"

    def config(self) -> object:
        """The tile's configuration."""
        raise NotImplementedError

    def convert(self, network: nn.Module, x: Tensor) -> nn.Module:
        """All linear layers and convolutions become analog."""
        return convert_to_analog(network, self.config())

    def optimizer(self, model: nn.Module, lr: float) -> Optimizer:
        """Its own, which draws the C++ tile's weight noise after each step."""
        optimizer = AnalogSGD(model.parameters(), lr=lr)
        optimizer.regroup_param_groups(model)
        return optimizer

    def chip(self, model: nn.Module) -> Infer:
        """Programmed with its default noise model, that of phase-change memory."""
        model.eval()
        model.program_analog_weights()
        return model
