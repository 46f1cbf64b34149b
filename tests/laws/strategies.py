"""Hypothesis strategies: any layer, with any batch norms around it, on any hardware."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import assume, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from laws.networks import SPECS, as_trained

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
BATCH_NORMS = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
SPACE = {1: (7,), 2: (7, 6), 3: (5, 4, 5)}

hardware = st.sampled_from(sorted(SPECS)).map(SPECS.__getitem__)


def examples(number: int) -> settings:
    """So many in a usual run; with another profile of tests/conftest.py as many as that one has."""
    usual = settings.get_current_profile_name() == "ci"
    return settings(max_examples=number) if usual else settings()


scale_modes = st.sampled_from(["signal", "channel"])


def _per_dim(draw: st.DrawFn, dims: int, low: int, high: int) -> tuple[int, ...]:
    return tuple(draw(st.integers(low, high)) for _ in range(dims))


@st.composite
def linear_layers(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """`(layer, input)`."""
    n_in, n_out = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    layer = nn.Linear(n_in, n_out, bias=draw(st.booleans()))
    return _finished(draw, layer, (4, n_in))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """`(layer, input)`: every dimension, group, stride, dilation, padding and padding mode."""
    dims = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 3))
    kernel, dilation = _per_dim(draw, dims, 1, 3 if dims < 3 else 2), _per_dim(draw, dims, 1, 2)
    mode = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    padding: Any = draw(st.sampled_from(["same", "valid", "ints"]))
    if padding == "ints":
        padding = _per_dim(draw, dims, 0, 2)
    stride = (1,) * dims if padding == "same" else _per_dim(draw, dims, 1, 3)
    channels = (groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 3)))
    layer = CONVOLUTIONS[dims](
        *channels,
        kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=draw(st.booleans()),
        padding_mode=mode,
    )
    return _finished(draw, layer, (2, channels[0], *SPACE[dims]))


@st.composite
def transposed_convolutions(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """`(layer, input)`: every dimension, group, stride, dilation, padding and output padding."""
    dims = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 3))
    kernel, dilation = _per_dim(draw, dims, 1, 3 if dims < 3 else 2), _per_dim(draw, dims, 1, 2)
    stride, padding = _per_dim(draw, dims, 1, 3), _per_dim(draw, dims, 0, 2)
    output_padding = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    channels = (groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 3)))
    space = tuple(size - 2 for size in SPACE[dims])
    sizes = zip(space, stride, padding, dilation, kernel, output_padding, strict=True)
    assume(all((n - 1) * s - 2 * p + d * (k - 1) + o + 1 > 0 for n, s, p, d, k, o in sizes))
    layer = TRANSPOSED[dims](
        *channels,
        kernel,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        groups=groups,
        bias=draw(st.booleans()),
        dilation=dilation,
    )
    return _finished(draw, layer, (2, channels[0], *space))


def _finished(draw: st.DrawFn, layer: nn.Module, shape: tuple[int, ...]) -> tuple[nn.Module, Tensor]:
    layer = _with_random_weights(draw, layer)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    return layer, torch.randn(shape, dtype=torch.float64, generator=generator)


def _with_random_weights(draw: st.DrawFn, layer: nn.Module) -> nn.Module:
    """The layer in float64."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layer.double()


layers = st.one_of(linear_layers(), convolutions(), transposed_convolutions())


@st.composite
def blocks(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """A layer with a batch norm behind it, in front of it, both or none, and an activation or none."""
    layer, x = draw(layers)
    weight = layer.weight
    transposed = isinstance(layer, tuple(TRANSPOSED.values()))
    n_out = weight.shape[1] * layer.groups if transposed else weight.shape[0]  # type: ignore[operator]
    norm = BATCH_NORMS[x.ndim - 2]
    parts: list[nn.Module] = [layer]
    if draw(st.booleans()):
        parts.append(norm(n_out, affine=draw(st.booleans())))
    if draw(st.booleans()):
        # In front of the first layer it stays digital: another layer has to stand in front of it.
        channels = x.shape[1]
        first = nn.Linear(channels, channels) if x.ndim == 2 else CONVOLUTIONS[x.ndim - 2](channels, channels, 1)
        parts = [_with_random_weights(draw, first), nn.ReLU(), norm(channels, affine=draw(st.booleans())), *parts]
    if draw(st.booleans()):
        parts.append(nn.LeakyReLU(0.2))
    return as_trained(nn.Sequential(*parts), seed=draw(st.integers(0, 99))), x
