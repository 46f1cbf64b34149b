"""Weights of a layer as devices have them: asked for, and realised in a forward pass."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hrat.encoding import LayerErrors

__all__ = ["LayerTargets", "Weights"]


@dataclass(frozen=True)
class LayerTargets:
    """Targets of a layer for the hardware, in eval mode."""

    fraction: Tensor
    """Q(W') in units of the window, PyTorch layout, in [-1, 1]; any value where there is no window."""
    range: Tensor
    """Gain of a weight at the end of the window, `R_f` times `Readout.full_S`, scalar."""
    bias_V: Tensor | None
    """b', `(out,)`, V, before the DAC."""


@dataclass(frozen=True)
class Weights:
    """Weights as devices realise them, in one forward pass."""

    fraction: Tensor
    """Q(W') in units of the window, `geometry.weight_shape`; may be overwritten where nothing else needs it."""
    range: Tensor
    """Gain of a weight at the end of the window, scalar."""
    seen_S: tuple[Tensor, Tensor] | None
    """`(G+, G-)` with their error, as seen through the wires, each in PyTorch layout, S; None where only their
    difference is needed."""
    errors: LayerErrors | None
    """Errors of amplifiers and readings; None where there are none."""
