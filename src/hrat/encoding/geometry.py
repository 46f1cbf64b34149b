"""The shape of a linear operation, and the one place where PyTorch's weights become crossbar matrices.

Conventions
    * PyTorch: `Linear` weight `(out, in)`; `ConvNd` weight `(out, in / groups, *kernel)`; `ConvTransposeNd` weight
      `(in, out / groups, *kernel)`.
    * Crossbar: `(groups, rows, cols)`, rows = inputs of one patch, `(in / groups) * prod(kernel)` in row-major order
      (channel slowest), cols = outputs of the group, `out / groups`.
    * A transposed convolution is an ordinary one over the input with zeros between its samples, its kernel mirrored:
      the same word lines, the zeros being lines at 0 V.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Geometry"]

Kind = Literal["linear", "conv", "conv_transpose"]

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How a layer's weights act on its input; hashable, and JSON-able through `to_dict`."""

    kind: Kind
    in_channels: int
    out_channels: int
    kernel: tuple[int, ...] = ()
    """Kernel size for each spatial dimension; empty for a linear layer."""
    stride: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    """(before, after) for each spatial dimension."""
    dilation: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()
    """Output size added at one end of each spatial dimension; transposed convolutions only."""
    groups: int = 1
    padding_mode: str = "zeros"

    @property
    def dims(self) -> int:
        """Number of spatial dimensions; 0 for a linear layer."""
        return len(self.kernel)

    @property
    def matrix_shape(self) -> tuple[int, int, int]:
        """`(groups, rows, cols)` of the crossbar matrices."""
        rows = self.in_channels // self.groups * math.prod(self.kernel)
        return self.groups, rows, self.out_channels // self.groups

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the PyTorch weight."""
        if self.kind == "conv_transpose":
            return (self.in_channels, self.out_channels // self.groups, *self.kernel)
        return (self.out_channels, self.in_channels // self.groups, *self.kernel)

    @property
    def pads_with_zeros(self) -> bool:
        """Whether zero padding makes outputs differ in which inputs they see."""
        if self.kind == "conv_transpose":
            return True  # zeros between the samples, and at the edges
        return self.padding_mode == "zeros" and any(map(any, self.padding))

    def apply(self, inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The linear operation itself.

        Args:
            inputs: `(..., in)` for a linear layer, `(batch, in, *space)` for the others.
            weight: weight of the shape `weight_shape`.
            bias: `(out,)`.

        Returns:
            `(..., out)` or `(batch, out, *space)`.
        """
        if self.kind == "linear":
            return F.linear(inputs, weight, bias)
        if self.kind == "conv_transpose":
            return _CONV_TRANSPOSE[self.dims](
                inputs,
                weight,
                bias,
                self.stride,
                [before for before, _ in self.padding],
                self.output_padding,
                self.groups,
                self.dilation,
            )
        symmetric = all(before == after for before, after in self.padding)
        if self.padding_mode == "zeros" and symmetric:
            padding = [before for before, _ in self.padding]
            return _CONV[self.dims](inputs, weight, bias, self.stride, padding, self.dilation, self.groups)
        return _CONV[self.dims](self._padded(inputs), weight, bias, self.stride, 0, self.dilation, self.groups)

    def patches(self, inputs: Tensor) -> Tensor:
        """Inputs of the word lines, one vector for each output position (im2col).

        Args:
            inputs: inputs as for `apply`; of a linear layer `(batch, ..., in)`.

        Returns:
            `(batch, groups, rows, positions)`: `matrix.mT @ patches` of each group are its bit lines, and equal
            `apply` with its spatial dimensions flattened.
        """
        batch = inputs.shape[0]
        if self.kind == "linear":
            return inputs.reshape(batch, -1, self.in_channels).mT.unsqueeze(1)
        if self.kind == "conv_transpose":
            windows, stride = self._stuffed(inputs), (1,) * self.dims
        else:
            windows, stride = self._padded(inputs), self.stride
        for dim in range(self.dims):
            reach = self.dilation[dim] * (self.kernel[dim] - 1) + 1
            windows = windows.unfold(2 + dim, reach, stride[dim])[..., :: self.dilation[dim]]
        # (batch, in, *positions, *kernel) -> (batch, in, *kernel, positions)
        positions = windows.shape[2 : 2 + self.dims]
        windows = windows.flatten(2, 1 + self.dims).movedim(2, -1)
        return windows.reshape(batch, *self.matrix_shape[:2], math.prod(positions))

    def from_lines(self, lines: Tensor, inputs: Tensor) -> Tensor:
        """Outputs of the bit lines in the shape that `apply` returns.

        Args:
            lines: `(batch, groups, cols, positions)`, such as `matrix.mT @ patches(inputs)`.
            inputs: inputs as for `apply`.

        Returns:
            `(..., out)` or `(batch, out, *space)`.
        """
        if self.kind == "linear":
            return lines.flatten(1, 2).mT.reshape(*inputs.shape[:-1], self.out_channels)
        weight = torch.empty(self.weight_shape, device="meta")
        shape = self.apply(torch.empty_like(inputs, device="meta", dtype=weight.dtype), weight).shape
        return lines.flatten(1, 2).reshape(shape)

    def out_view(self, vector: Tensor) -> Tensor:
        """A value for each output channel, `(out,)` or a scalar, in a shape that broadcasts against the weight."""
        if vector.ndim == 0:
            return vector
        ones = (1,) * self.dims
        if self.kind == "conv_transpose":
            of_group = vector.view(self.groups, 1, -1).expand(-1, self.in_channels // self.groups, -1)
            return of_group.reshape(self.in_channels, -1, *ones)
        return vector.view(-1, 1, *ones)

    def in_view(self, vector: Tensor) -> Tensor:
        """A value for each input channel, `(in,)` or a scalar, in a shape that broadcasts against the weight."""
        if vector.ndim == 0:
            return vector
        ones = (1,) * self.dims
        if self.kind == "conv_transpose":
            return vector.view(-1, 1, *ones)
        of_group = vector.view(self.groups, 1, -1).expand(-1, self.out_channels // self.groups, -1)
        return of_group.reshape(self.out_channels, -1, *ones)

    def out_sum(self, a: Tensor) -> Tensor:
        """Sum over all the weights of each output channel, `(out,)`; `a` of `weight_shape`."""
        if self.kind != "conv_transpose":
            return a.flatten(1).sum(1)
        split = (self.groups, self.in_channels // self.groups, self.out_channels // self.groups, -1)
        return a.reshape(split).sum(dim=(1, 3)).flatten()

    def out_norm(self, a: Tensor) -> Tensor:
        """Euclidean norm of the weights of each output channel, `(out,)`; `a` of `weight_shape`."""
        if self.kind != "conv_transpose":
            norms: Tensor = torch.linalg.vector_norm(a.flatten(1), dim=1)
            return norms
        return self.out_sum(a * a).sqrt()

    def channel_view(self, vector: Tensor) -> Tensor:
        """A value for each output channel, in a shape that broadcasts against the layer's output."""
        return vector if vector.ndim == 0 else vector.view(-1, *(1,) * self.dims)

    def to_matrix(self, weight: Tensor) -> Tensor:
        """PyTorch weight -> crossbar matrices `(groups, rows, cols)`. The transpose happens here and nowhere else."""
        groups, rows, cols = self.matrix_shape
        if self.kind == "conv_transpose":
            mirrored = weight.flip(tuple(range(2, 2 + self.dims)))
            split = mirrored.reshape(groups, self.in_channels // groups, cols, -1)
            return split.movedim(2, 3).reshape(groups, rows, cols)
        return weight.reshape(groups, cols, rows).mT

    def from_matrix(self, matrix: Tensor) -> Tensor:
        """Crossbar matrices `(groups, rows, cols)` -> PyTorch weight; the inverse of `to_matrix`."""
        groups, rows, cols = self.matrix_shape
        if self.kind == "conv_transpose":
            split = matrix.reshape(groups, self.in_channels // groups, rows * groups // self.in_channels, cols)
            mirrored = split.movedim(3, 2).reshape(self.weight_shape)
            return mirrored.flip(tuple(range(2, 2 + self.dims)))
        return matrix.mT.reshape(self.weight_shape)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Geometry:
        """Make one from plain data: the inverse of `to_dict`; lists become tuples again.

        Raises:
            ValueError: the data is no geometry of a layer: unknown fields, wrong types, sizes that do not fit together.
        """
        _check_fields(data)
        raw = cls(**data)
        geometry = replace(
            raw,
            kernel=tuple(raw.kernel),
            stride=tuple(raw.stride),
            dilation=tuple(raw.dilation),
            output_padding=tuple(raw.output_padding),
            padding=tuple((before, after) for before, after in raw.padding),
        )
        _check_geometry(geometry)
        return geometry

    def _padded(self, inputs: Tensor) -> Tensor:
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        return F.pad(inputs, _torch_order(self.padding), mode=mode)

    def _stuffed(self, inputs: Tensor) -> Tensor:
        """Input of a transposed convolution with `stride - 1` zeros between samples, padded for a plain one."""
        space = [(size - 1) * step + 1 for size, step in zip(inputs.shape[2:], self.stride, strict=True)]
        stuffed = inputs.new_zeros(*inputs.shape[:2], *space)
        every: tuple[slice, ...] = tuple(slice(None, None, step) for step in self.stride)
        stuffed[(slice(None), slice(None), *every)] = inputs
        edges = [
            (d * (k - 1) - before, d * (k - 1) - after + extra)
            for d, k, (before, after), extra in zip(
                self.dilation, self.kernel, self.padding, self.output_padding, strict=True
            )
        ]
        return F.pad(stuffed, _torch_order(edges))


def _check_fields(data: Any) -> None:
    """Check the types of the fields."""
    names = {field.name for field in fields(Geometry)}
    needed = {"kind", "in_channels", "out_channels"}
    if not isinstance(data, dict) or not needed <= data.keys() <= names:
        raise ValueError(f"a geometry has the fields {', '.join(sorted(names))}, got {data!r:.200}")
    for name in ("in_channels", "out_channels", "groups"):
        if not _is_size(data.get(name, 1), least=1):
            raise ValueError(f"a geometry's {name} is a whole number from 1, got {data[name]!r:.200}")
    for name in ("kernel", "stride", "dilation", "output_padding"):
        value = data.get(name, ())
        least = 0 if name == "output_padding" else 1
        if not isinstance(value, list | tuple) or not all(_is_size(size, least=least) for size in value):
            raise ValueError(f"a geometry's {name} is a list of whole numbers from {least}, got {value!r:.200}")
    padding = data.get("padding", ())
    pairs = isinstance(padding, list | tuple) and all(isinstance(p, list | tuple) and len(p) == 2 for p in padding)
    if not pairs or not all(_is_size(size, least=0) for pair in padding for size in pair):
        raise ValueError(f"a geometry's padding is a list of pairs of whole numbers from 0, got {padding!r:.200}")


def _is_size(value: Any, *, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**31


def _check_geometry(geometry: Geometry) -> None:
    """Check that the sizes fit together."""
    kinds, modes = ("linear", "conv", "conv_transpose"), ("zeros", "reflect", "replicate", "circular")
    if geometry.kind not in kinds or geometry.padding_mode not in modes:
        raise ValueError(
            f"a geometry's kind is one of {', '.join(kinds)} and its padding_mode one of {', '.join(modes)}, got "
            f"{geometry.kind!r:.50} and {geometry.padding_mode!r:.50}"
        )
    allowed_dims = (0,) if geometry.kind == "linear" else (1, 2, 3)
    transposed = geometry.kind == "conv_transpose"
    lengths = {len(part) for part in (geometry.stride, geometry.padding, geometry.dilation)}
    if (
        geometry.dims not in allowed_dims
        or lengths != {geometry.dims}
        or len(geometry.output_padding) != (geometry.dims if transposed else 0)
    ):
        raise ValueError(
            f"a layer of kind {geometry.kind} has kernel, stride, padding and dilation "
            f"(transposed: and output_padding) for {' or '.join(map(str, allowed_dims))} dimension(s) each, "
            f"got {geometry.to_dict()!r:.300}"
        )
    if geometry.in_channels % geometry.groups or geometry.out_channels % geometry.groups:
        raise ValueError(
            f"{geometry.in_channels} inputs and {geometry.out_channels} outputs do not divide into "
            f"{geometry.groups} group(s)"
        )
    if transposed and any(before != after for before, after in geometry.padding):
        raise ValueError("a transposed convolution has the same padding before and after")


def _torch_order(pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Padding in the order of `F.pad`, the last dimension first."""
    return [edge for pair in reversed(pairs) for edge in pair]
