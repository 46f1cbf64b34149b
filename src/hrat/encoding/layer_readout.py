"""The read-out of a whole layer: word-line voltages -> outputs, for training and for every solver of linear tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from hrat.encoding.amplifier_errors import LayerErrors
from hrat.encoding.geometry import Geometry
from hrat.encoding.readouts import Readout
from hrat.encoding.row_tiles import RowTiles
from hrat.physics import Draw, digital_sum, input_noise_V
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
    spec: HardwareSpec

    @classmethod
    def of(cls, geometry: Geometry, spec: HardwareSpec) -> LayerReadout:
        """What a spec gives a layer of this shape."""
        amplifiers = Readout.of(spec)
        negatives, tiles = amplifiers.negatives(geometry), RowTiles.of(geometry, spec)
        same = negatives == geometry
        return cls(amplifiers, tiles, geometry, negatives, tiles if same else RowTiles.of(negatives, spec), spec)

    @property
    def term_geometries(self) -> tuple[Geometry, ...]:
        """The operation whose outputs are the amplifiers of each term (`Readout.terms`)."""
        return (self.geometry, self.negatives) if self.amplifiers.inner_amplifiers else (self.geometry,)

    def by_group(self, of_terms: list[Tensor]) -> Tensor:
        """Values `(sums, outputs)` of the amplifiers of each term -> `(sums, groups, amplifiers)`, terms in order."""
        return torch.cat([values.unflatten(1, (self.geometry.groups, -1)) for values in of_terms], 2)

    def by_term(self, of_groups: Tensor) -> list[Tensor]:
        """The inverse of `by_group`."""
        widths = [geometry.matrix_shape[2] for geometry in self.term_geometries]
        return [part.flatten(1) for part in of_groups.split(widths, 2)]

    def resistors(self, term: int, *, has_bias: bool) -> int:
        """Resistors of the size of the feedback resistor at the summing nodes of a term's amplifiers."""
        if term > 0:
            return 0
        return int(self.amplifiers.inner_amplifiers) + int(has_bias and self.tiles is None)

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
        errors: LayerErrors | None = None,
        draw: Draw | None = None,
        last: bool = True,
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
            errors: of amplifiers and readings; None: there are none.
            draw: numbers of this reading; None to leave out what differs from reading to reading.
            last: False to leave the errors of the last amplifiers to `amplified`; they are in the sum of tiles always.

        Returns:
            `(images, out, *space)`, V.
        """
        bias_in_sum_V = bias_V
        if self.tiles is None:
            product = product or partial(_product, voltage)
            inner = [product(self.negatives, gain) for gain in gains[1:]]
            terms = (product(self.geometry, gains[0], bias_V), *inner)
            bias_in_sum_V = None
        else:
            assert self.negative_tiles is not None
            inner = [self.negative_tiles.apply(voltage, gain) for gain in gains[1:]]
            terms = (self.tiles.apply(voltage, gains[0]), *inner)
        return self.outputs(
            terms,
            voltage,
            full_scale_V=full_scale_V,
            bias_V=bias_in_sum_V,
            digital_sum=digital_sum,
            watch=watch,
            errors=errors,
            draw=draw,
            last=last,
        )

    def outputs(
        self,
        terms: tuple[Tensor, ...],
        voltage: Tensor,
        *,
        full_scale_V: Tensor | None = None,
        bias_V: Tensor | None = None,
        digital_sum: Callable[[Tensor, Tensor, Periphery], Tensor] = digital_sum,
        watch: Callable[[Tensor], None] | None = None,
        errors: LayerErrors | None = None,
        draw: Draw | None = None,
        last: bool = True,
    ) -> Tensor:
        """What becomes of the currents of bit lines: `volts` from there on.

        Args:
            terms: `R_f I` of each amplifier, `(images, outputs, *space)`, in front of it `(sums,)` where tiles have
                ADCs, V.
            voltage: `(images, in, *space)`, V.
            full_scale_V: see `volts`.
            bias_V: see `volts`.
            digital_sum: see `volts`.
            watch: see `volts`.
            errors: see `volts`.
            draw: see `volts`.
            last: see `volts`.

        Returns:
            `(images, out, *space)`, V.
        """
        if bias_V is not None and self.tiles is None:
            terms = (terms[0] + self.geometry.channel_view(bias_V), *terms[1:])
        amplified = None
        if errors is not None:
            mine = dict(enumerate(terms))
            if not last and self.tiles is None:
                del mine[0]
            noise_V = self._input_noise(mine, errors, draw)
            through = partial(self._amplified, voltage=voltage, errors=errors, noise_V=noise_V, draw=draw)

            def amplified(term: int, ideal_V: Tensor) -> Tensor:
                return through(term, ideal_V) if term in mine else ideal_V

        for_each_output = partial(self.amplifiers.for_each_output, geometry=self.geometry)
        sum_V = self.amplifiers.combined(terms, for_each_output, amplified)
        if self.tiles is None:
            return sum_V
        assert full_scale_V is not None
        if watch is not None:
            watch(sum_V)
        out = digital_sum(sum_V, full_scale_V, self.amplifiers.periphery)
        return out if bias_V is None else out + self.geometry.channel_view(bias_V)

    def last_amplified(self, ideal_V: Tensor, voltage: Tensor, errors: LayerErrors | None, draw: Draw | None) -> Tensor:
        """What the last amplifiers yield, before their limits, where no tile has ADCs: `(images, out, *space)`, V.

        Args:
            ideal_V: what ideal ones would yield, V.
            voltage: `(images, in, *space)`, on the word lines, V.
            errors: of amplifiers and readings; None: there are none.
            draw: numbers of this reading; None to leave out what differs from reading to reading.
        """
        if errors is None:
            return ideal_V
        noise_V = self._input_noise({0: ideal_V}, errors, draw)
        return self._amplified(0, ideal_V, voltage=voltage, errors=errors, noise_V=noise_V, draw=draw)

    def _amplified(
        self,
        term: int,
        ideal_V: Tensor,
        *,
        voltage: Tensor,
        errors: LayerErrors,
        noise_V: dict[int, Tensor],
        draw: Draw | None,
    ) -> Tensor:
        """What the amplifiers of a term yield in place of an ideal output, before their limits, V."""
        factor = self._view(errors.loops[term].factor, ideal_V)
        out = torch.addcmul(self._view(errors.added_V[term], ideal_V), ideal_V, factor)
        if errors.image_offset_V and draw is not None:
            offset_V = self._image_offset_V(term, ideal_V, errors.image_offset_V[0], draw)
            out = torch.addcmul(out, self._view(errors.loops[term].of_input, ideal_V), offset_V)
        if noise_V:
            out = out + noise_V[term]
        if not errors.squares or draw is None:
            return out
        spread_V = self.device_noise_V(term, voltage, errors) * factor
        return torch.addcmul(out, spread_V, self.device_numbers(term, ideal_V, draw))

    def device_noise_V(self, term: int, voltage: Tensor, errors: LayerErrors) -> Tensor:
        """Standard deviation of a term's outputs by the noise of its devices, in their shape, V; no gradient."""
        tiles = (self.tiles, self.negative_tiles)[term]
        apply = self.term_geometries[term].apply if tiles is None else tiles.apply
        square_V2 = apply(voltage.detach().square(), errors.squares[term])
        # The slope of a root at zero is no number: where there is no signal, there is a noise of no consequence.
        return (square_V2 + torch.finfo(square_V2.dtype).tiny).sqrt() * self.spec.device.read_noise_rel

    def _image_offset_V(self, term: int, ideal_V: Tensor, spread_V: float, draw: Draw) -> Tensor:
        """Offsets of a term's amplifiers drawn for each image, the same at all places of it, V."""
        images_at, channel = self._images_at(ideal_V), ideal_V.ndim - 1 - self.geometry.dims
        kept = {images_at % ideal_V.ndim, channel, *range(int(self.tiles is not None))}
        shape = [size if dim in kept else 1 for dim, size in enumerate(ideal_V.shape)]
        return draw(ideal_V.new_empty(shape), images_at, f"offsets {term}") * spread_V

    def _input_noise(self, ideal_V: dict[int, Tensor], errors: LayerErrors, draw: Draw | None) -> dict[int, Tensor]:
        """Noise of the amplifiers of some terms at their outputs, V; empty where there is none."""
        if draw is None or not input_noise_V(self.spec.periphery):
            return {}
        inputs_V = {k: self.amplifier_noise_V(k, v, draw) for k, v in ideal_V.items()}
        out = {k: self._view(errors.loops[k].of_input, v) * v for k, v in inputs_V.items()}
        if errors.coupling:
            across = self._across(list(inputs_V.values()), errors.coupling[0])
            for k, other_V in enumerate(across):
                out[k] = out[k] + self._view(errors.loops[k].factor, other_V) * other_V
        return out

    def amplifier_noise_V(self, term: int, like: Tensor, draw: Draw) -> Tensor:
        """Noise at the inputs of a term's amplifiers in one reading, V, of the shape of their outputs `like`."""
        return draw(like, self._images_at(like), f"amplifiers {term}") * input_noise_V(self.spec.periphery)

    def device_numbers(self, term: int, like: Tensor, draw: Draw) -> Tensor:
        """Standard normal numbers of a term's bit lines in one reading, of the shape of `like`."""
        return draw(like, self._images_at(like), f"devices {term}")

    def _across(self, inputs_V: list[Tensor], coupling: Tensor) -> list[Tensor]:
        """What voltages at the inputs of amplifiers add to the outputs of others, by term, V."""
        groups, channel = coupling.shape[1], -1 - self.geometry.dims
        by_group: list[Tensor] = []
        for values in inputs_V:
            of_sums = values if self.tiles is not None else values.unsqueeze(0)
            by_group.append(of_sums.movedim(channel, 1).unflatten(1, (groups, -1)))  # (sums, groups, outputs, ...)
        moved = coupling @ torch.cat(by_group, 2).flatten(3)
        results = []
        for values, part in zip(by_group, moved.split([v.shape[2] for v in by_group], 2), strict=True):
            whole = part.reshape(values.shape).flatten(1, 2).movedim(1, channel)
            results.append(whole if self.tiles is not None else whole[0])
        return results

    def _view(self, of_amplifiers: Tensor, voltage: Tensor) -> Tensor:
        """`(sums, outputs)` in a shape that broadcasts against the voltages of these amplifiers."""
        dims = self.geometry.dims
        if self.tiles is None:
            return of_amplifiers[0].view(-1, *(1,) * dims)
        between = (1,) * (voltage.ndim - 2 - dims)
        return of_amplifiers.view(len(of_amplifiers), *between, -1, *(1,) * dims)

    def _images_at(self, voltage: Tensor) -> int:
        """The dimension of images in the voltages of amplifiers; negative where there is none."""
        first = int(self.tiles is not None)
        return first if voltage.ndim > first + 1 + self.geometry.dims else -1


def _product(voltage: Tensor, geometry: Geometry, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return geometry.apply(voltage, weight, bias)
