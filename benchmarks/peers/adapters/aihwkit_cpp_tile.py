"""aihwkit with its tile written in C++."""

from aihwkit.simulator.configs import InferenceRPUConfig
from aihwkit.simulator.parameters.enums import WeightModifierType
from aihwkit.simulator.parameters.inference import WeightModifierParameter

from adapters.aihwkit_settings import STD_DEV, AihwkitAdapter, mapping


class Adapter(AihwkitAdapter):
    """4-bit weights with noise."""

    note = "InferenceRPUConfig; 4-bit weights with noise"

    def config(self) -> object:
        """The tile's configuration."""
        modifier = WeightModifierParameter(
            type=WeightModifierType.DISCRETIZE_ADD_NORMAL, std_dev=STD_DEV, res=1 / (2**4 - 2)
        )
        return InferenceRPUConfig(mapping=mapping(), modifier=modifier)
