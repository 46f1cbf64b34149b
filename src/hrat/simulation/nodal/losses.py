"""Voltages along the wires of a tile, from the currents that its devices draw: sums along each line, no equations."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hrat.simulation.nodal.wires import Wires

__all__ = ["NodeVoltages", "node_voltages"]


@dataclass(frozen=True, kw_only=True)
class NodeVoltages:
    """Voltages at both ends of each device, V."""

    word_V: Tensor
    bit_V: Tensor

    @property
    def device_V(self) -> Tensor:
        """Voltage across each device, `(tiles, rows, cols, batch)`, V."""
        return self.word_V - self.bit_V


def node_voltages(v_V: Tensor, currents_A: Tensor, wires: Wires) -> NodeVoltages:
    """Voltages of word lines and bit lines at each device, from the currents of the devices.

    Args:
        v_V: `(tiles, rows, batch)`, voltage of each source, V.
        currents_A: `(tiles, rows, cols, batch)`, from word line to bit line, A.
        wires: those of every tile.

    Returns:
        Voltages `(tiles, rows, cols, batch)`, V.
    """
    # A segment of a word line carries what the devices behind it draw, less what comes from the far end.
    segment_A = _sum_from_end(currents_A, 2)
    if wires.far_end_ohm is not None:
        # Kirchhoff's voltage law from source to source: the segments' drops and the drivers' add up to zero.
        cols = currents_A.shape[2]
        loop_ohm = 2 * wires.driver_ohm + (cols + 1) * wires.word_ohm
        drops_V = wires.driver_ohm * segment_A[:, :, :1] + wires.word_ohm * segment_A.sum(2, keepdim=True)
        segment_A = segment_A - drops_V / loop_ohm
    lost_V = wires.driver_ohm * segment_A[:, :, :1] + wires.word_ohm * segment_A.cumsum(2)
    down_A = currents_A.cumsum(1)
    bit_V = wires.sense_ohm * down_A[:, -1:] + wires.bit_ohm * _sum_from_end(down_A, 1)
    return NodeVoltages(word_V=v_V.unsqueeze(2) - lost_V, bit_V=bit_V)


def _sum_from_end(values: Tensor, dim: int) -> Tensor:
    return values.flip(dim).cumsum(dim).flip(dim)
