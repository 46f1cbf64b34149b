"""Errors of a layer's amplifiers and readings, as its read-out has them: in volts, for training and every solver.

The formulas stand in `hrat.physics.amplifiers`; here is which devices and resistors hang at which amplifier. Amplifiers
are counted as the read-out's terms are (`Readout.terms`): the last one of each output first, then inner ones. Where
each tile has ADCs, each tile has amplifiers of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hrat.encoding.geometry import Geometry
from hrat.physics import Amplifiers, ClosedLoop, closed_loop, draw_amplifiers, has_amplifier_errors
from hrat.spec import HardwareSpec

if TYPE_CHECKING:
    from hrat.encoding.layer_readout import LayerReadout

__all__ = ["LayerAmplifiers", "LayerErrors", "draw_layer_amplifiers", "errors_of_layer", "on_bit_lines"]

LayerAmplifiers = tuple[Amplifiers, ...]
"""Amplifiers of a layer on a chip, by the read-out's terms: tensors `(sums, outputs)`."""


class LayerErrors(NamedTuple):
    """What a chip's amplifiers and devices do to the voltages of a layer, by the read-out's terms."""

    loops: tuple[ClosedLoop, ...]
    """Factors on ideal outputs and on errors at the inputs, `(sums, outputs)`."""
    added_V: tuple[Tensor, ...]
    """Offsets as they appear at the outputs, `(sums, outputs)`, V."""
    squares: tuple[Tensor, ...] = ()
    """`(R_f G)^2` of each term's devices, in PyTorch layout; empty where devices have no noise."""
    coupling: tuple[Tensor, ...] = ()
    """One tensor, `(sums, groups, amplifiers, amplifiers)`, those of all terms behind one another: what a voltage at
    the input of one amplifier adds to another's output, through the resistance of word lines that both share; empty
    where wires are ideal."""
    image_offset_V: tuple[float, ...] = ()
    """One number, the standard deviation of offsets that are drawn anew for each image, V; empty where a chip has its
    own. Training needs no more than the mean over chips, and comes to it with less scatter if each image meets one."""


def draw_layer_amplifiers(
    readout: LayerReadout,
    spec: HardwareSpec,
    like: Tensor,
    *,
    generator: Callable[[int], torch.Generator | None],
    strength: Tensor | float | None = 1.0,
    offsets: bool = True,
) -> LayerAmplifiers:
    """Draw the amplifiers of a layer, as a chip has them; none where they have no errors.

    Args:
        readout: of the layer.
        spec: the hardware.
        like: gives type and device.
        generator: source of the random numbers of each term's amplifiers.
        strength: factor on the errors; None to draw nothing.
        offsets: False to leave offsets at zero.
    """
    if not has_amplifier_errors(spec.periphery):
        return ()
    return tuple(
        draw_amplifiers(
            spec.periphery,
            (readout.n_sums, geometry.out_channels),
            like=like,
            generator=generator(term),
            strength=strength,
            offsets=offsets,
        )
        for term, geometry in enumerate(readout.term_geometries)
    )


def errors_of_layer(
    readout: LayerReadout,
    spec: HardwareSpec,
    pair_S: tuple[Tensor, Tensor],
    r_f_ohm: Tensor | float,
    amplifiers: LayerAmplifiers,
    *,
    has_bias: bool,
    squares_S2: tuple[Tensor, Tensor] | None = None,
    ground_S: Tensor | None = None,
) -> LayerErrors | None:
    """Errors of a layer's amplifiers and readings; None where there are none.

    Args:
        readout: of the layer.
        spec: the hardware.
        pair_S: conductances of the positive partners, in PyTorch layout, and of the negative ones, of the weight's
            shape of `readout.negatives`, as amplifiers see them through the wires, S.
        r_f_ohm: feedback resistance.
        amplifiers: what the chip has; empty where amplifiers have no errors.
        has_bias: whether bias DACs hang at the last amplifiers.
        squares_S2: squares of the conductances as they were programmed, like `pair_S`, S^2; None where devices do not
            differ from reading to reading.
        ground_S: current out of each amplifier's input by the voltage at each, those of all terms behind one another,
            `(sums, groups, amplifiers, amplifiers)`, S; None: no amplifier acts on another, and the current out of its
            own input is by the sum of `pair_S`.
    """
    if not amplifiers and squares_S2 is None:
        return None
    if ground_S is None:
        tile_rows = None if readout.tiles is None else spec.array.rows
        loads_S = [
            on_bit_lines(load_S, geometry, tile_rows)
            for geometry, load_S in zip(readout.term_geometries, readout.amplifiers.loads_S(*pair_S), strict=True)
        ]
    else:
        loads_S = readout.by_term(ground_S.diagonal(dim1=-2, dim2=-1))
    loops, added = [], []
    for term, load_S in enumerate(loads_S):
        if amplifiers:
            own = amplifiers[term]
            resistors = readout.resistors(term, has_bias=has_bias)
            loop = closed_loop(load_S, r_f_ohm, resistors, own.r_f_error.to(load_S), spec.periphery)
            added.append(loop.of_input * own.offset_V.to(load_S))
        else:
            loop = ClosedLoop(torch.ones_like(load_S), torch.ones_like(load_S))
            added.append(torch.zeros_like(load_S))
        loops.append(loop)
    coupling: tuple[Tensor, ...] = ()
    if ground_S is not None and amplifiers:
        across = r_f_ohm * (ground_S - torch.diag_embed(ground_S.diagonal(dim1=-2, dim2=-1)))
        offsets_V = readout.by_group([own.offset_V.to(across) for own in amplifiers])
        others_V = readout.by_term((across @ offsets_V.unsqueeze(-1)).squeeze(-1))
        added = [added_V + loop.factor * other_V for added_V, loop, other_V in zip(added, loops, others_V, strict=True)]
        coupling = (across,)
    squares: tuple[Tensor, ...] = ()
    if squares_S2 is not None:
        # Without gradient: this noise is a share of the signal, so that no scale or window makes it smaller.
        r_f2_ohm2 = r_f_ohm.detach().square() if isinstance(r_f_ohm, Tensor) else r_f_ohm**2
        squares = tuple(g_S2.detach() * r_f2_ohm2 for g_S2 in readout.amplifiers.loads_S(*squares_S2))
    return LayerErrors(tuple(loops), tuple(added), squares, coupling)


def on_bit_lines(g_S: Tensor, geometry: Geometry, tile_rows: int | None) -> Tensor:
    """Sum over the devices of each bit line, `(sums, outputs)`, S.

    Args:
        g_S: in PyTorch layout, `geometry.weight_shape`.
        geometry: the operation.
        tile_rows: word lines of a tile, where each tile has a sum of its own; None for one sum over all rows.
    """
    matrix = geometry.to_matrix(g_S)
    groups, rows, cols = matrix.shape
    if tile_rows is None:
        return matrix.sum(1).reshape(1, groups * cols)
    of_tiles: Tensor = F.pad(matrix, (0, 0, 0, -rows % tile_rows)).unflatten(1, (-1, tile_rows)).sum(2)
    return of_tiles.transpose(0, 1).reshape(-1, groups * cols)
