"""The read-out of a whole layer: word-line voltages -> outputs, for training and for every solver of linear tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from torch import Tensor

from hrat.encoding.geometry import Geometry
from hrat.encoding.readouts import Readout
from hrat.encoding.row_tiles import RowTiles
from hrat.physics import digital_sum
from hrat.spec import HardwareSpec, Periphery

__all__ = ["LayerReadout"]


class Product(Protocol):
    """A linear operation on what drives the word lines: `weight @ voltage + bias`, convolution or not."""

    def __call__(self, geometry: Geometry, weight: Tensor, bias: Tensor | None = None, /) -> Tensor:
        """A weight of `geometry.weight_shape` -> `(..., out)` or `(images, out, *space)`."""
        ...


@dataclass(frozen=True)
class LayerReadout:
    """The read-out of one layer: its amplifiers, and ADCs for each tile where these are not to share amplifiers."""

    amplifiers: Readout
    tiles: RowTiles | None
    """The tiles whose partial sums pass ADCs; None where the currents of all tiles are summed."""
    geometry: Geometry
    negatives: Geometry
    """The operation whose weights are the negative partners."""
    negative_tiles: RowTiles | None
    """The tiles as the negative partners have them."""

    @classmethod
    def of(cls, geometry: Geometry, spec: HardwareSpec) -> LayerReadout:
        """What a spec gives a layer of this shape."""
        amplifiers = Readout.of(spec)
        negatives, tiles = amplifiers.negatives(geometry), RowTiles.of(geometry, spec)
        same = negatives == geometry
        return cls(amplifiers, tiles, geometry, negatives, tiles if same else RowTiles.of(negatives, spec))

    @property
    def n_devices(self) -> int:
        """Memristors of the layer with one device, or pair of devices, for each weight."""
        groups, rows, cols = self.geometry.matrix_shape
        return groups * rows * (cols + self.negatives.matrix_shape[2])

    @property
    def n_sums(self) -> int:
        """Partial sums of each output that have amplifiers of their own."""
        return 1 if self.tiles is None else self.tiles.count

    @property
    def is_one_product(self) -> bool:
        """Whether nothing inside depends on volts: the operation with one weight then yields the outputs."""
        return self.tiles is None and not self.amplifiers.inner_amplifiers

    def volts(
        self,
        voltage: Tensor,
        gains: tuple[Tensor, ...],
        *,
        full_scale_V: Tensor | None = None,
        bias_V: Tensor | None = None,
        product: Product | None = None,
        digital_sum: Callable[[Tensor, Tensor, Periphery], Tensor] = digital_sum,
        watch: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Word-line voltages -> outputs, without the limit of the last amplifier.

        Args:
            voltage: `(images, in, *space)`, V.
            gains: `R_f G` of each amplifier (`Readout.terms`), in PyTorch layout, no unit.
            full_scale_V: of the ADCs of each tile, `(tiles,)`, V, where tiles have some.
            bias_V: `(out,)`, V.
            product: an operation on `voltage`, where that is not `Geometry.apply`.
            digital_sum: `hrat.physics.digital_sum`, or what has a gradient besides.
            watch: called with the voltages of the tiles' amplifiers, `(tiles, ...)`, before any limit.

        Returns:
            `(images, out, *space)`, V.
        """
        for_each_output = partial(self.amplifiers.for_each_output, geometry=self.geometry)
        if self.tiles is None:
            product = product or partial(_product, voltage)
            inner = [product(self.negatives, gain) for gain in gains[1:]]
            return self.amplifiers.combined((product(self.geometry, gains[0], bias_V), *inner), for_each_output)
        assert self.negative_tiles is not None
        assert full_scale_V is not None
        inner = [self.negative_tiles.apply(voltage, gain) for gain in gains[1:]]
        partial_V = self.amplifiers.combined((self.tiles.apply(voltage, gains[0]), *inner), for_each_output)
        if watch is not None:
            watch(partial_V)
        out = digital_sum(partial_V, full_scale_V, self.amplifiers.periphery)
        return out if bias_V is None else out + self.geometry.channel_view(bias_V)


def _product(voltage: Tensor, geometry: Geometry, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return geometry.apply(voltage, weight, bias)
