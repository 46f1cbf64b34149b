"""One error sample for all calls of a layer in a forward pass."""

from __future__ import annotations

from torch import Tensor, nn

from hrat.nn.crossbar_layer import CrossbarLayer
from hrat.nn.device_errors import ChipSample

__all__ = ["SharedError"]


class SharedError(nn.Module):
    """Draws the one error sample of a layer that is called several times in a forward pass."""

    def __init__(self, layer: CrossbarLayer) -> None:
        super().__init__()
        self._layer = (layer,)  # in a tuple: the layer is registered where it is called, not here a second time

    def forward(self, alpha_in: Tensor, alpha_out: Tensor) -> ChipSample | None:
        """Errors of the layer's devices and amplifiers; None where none are drawn."""
        return self._layer[0].draw_error(alpha_in, alpha_out)
