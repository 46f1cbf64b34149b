"""hrat itself, so that it stands in the same table."""

from torch import Tensor, nn

import hrat
from adapters.network import Infer, NetworkAdapter
from hrat.simulation import ChipSolver


class Adapter(NetworkAdapter):
    """4-bit devices, their programming error, the read threshold, swing, and both DACs, as `generic-4bit` has them."""

    package = "hrat"
    note = "a chip's error is drawn when it is programmed: two chips differ, two reads of one do not"

    def __init__(self) -> None:
        self.chips = 0

    def convert(self, network: nn.Module, x: Tensor) -> nn.Module:
        """Batch norm in its fastest form."""
        return hrat.prepare(network, "generic-4bit", x, batch_norm="one_pass")

    def chip(self, model: nn.Module) -> Infer:
        """The next chip's behavioural simulation."""
        self.chips += 1
        solver = ChipSolver(hrat.program(hrat.deploy(model.eval()), seed=self.chips))
        return lambda x: solver.compute({"input": x})
