"""aihwkit with its tile written in PyTorch."""

from aihwkit.simulator.configs import TorchInferenceRPUConfig
from aihwkit.simulator.parameters.enums import WeightModifierType
from aihwkit.simulator.parameters.inference import WeightModifierParameter

from adapters.aihwkit_settings import STD_DEV, AihwkitAdapter, mapping


class Adapter(AihwkitAdapter):
    """Weight noise without discrete states: this tile has the one or the other."""

    note = "TorchInferenceRPUConfig; weight noise, no discrete weights"

    def config(self) -> object:
        """The tile's configuration."""
        modifier = WeightModifierParameter(type=WeightModifierType.ADD_NORMAL, std_dev=STD_DEV)
        return TorchInferenceRPUConfig(mapping=mapping(), modifier=modifier)
