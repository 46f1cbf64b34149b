"""CrossSim."""

from simulator import CrossSimParameters
from simulator.algorithms.dnn.torch.convert import from_torch, reinitialize, synchronize
from torch import Tensor, nn

from adapters.network import Infer, NetworkAdapter


class Adapter(NetworkAdapter):
    """4-bit weights as pairs of 3-bit cells, with programming error; converters as they come: ideal."""

    package = "CrossSim"
    note = "errors are drawn when an array is programmed: in training after each step, in inference once for a chip"

    def convert(self, network: nn.Module, x: Tensor) -> nn.Module:
        """All linear layers and convolutions become analog; the bias is digital."""
        parameters = CrossSimParameters()
        parameters.core.style = "BALANCED"
        parameters.xbar.device.cell_bits = 3
        parameters.xbar.device.programming_error.enable = True
        parameters.xbar.device.programming_error.model = "NormalIndependentDevice"
        parameters.xbar.device.programming_error.magnitude = 0.05  # of the largest conductance
        # Inputs are not quantised, so they shall not be clipped either: wide open, as in its own applications.
        parameters.core.mapping.inputs.mvm.min = -1e10
        parameters.core.mapping.inputs.mvm.max = 1e10
        return from_torch(network, parameters)

    def after_step(self, model: nn.Module) -> None:
        """The arrays do not see what an optimiser does to the weights in place: program them anew."""
        synchronize(model)

    def chip(self, model: nn.Module) -> Infer:
        """Arrays with new errors."""
        reinitialize(model.eval())
        return model
