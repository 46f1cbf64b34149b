"""Rectangular pieces of a tile, seen from their edges, and how two neighbours become one.

A block of `h` word lines by `w` bit lines is cut out of the grid through its wires. What can be seen of it are its
ends, four kinds of them. Each has an input and an output:

```text
    end                   count   input                         output
    L  word lines, left     h     voltage there                 current that enters
    R  word lines, right    h     current that leaves           voltage there
    T  bit lines, top       w     current that enters           voltage there
    B  bit lines, bottom    w     voltage there                 current that leaves
```

A signal thus runs from the drivers to the right and a current from the top to the sense ends, and the output of an end
is the input of the neighbour's end that it meets. The block is linear, `y = H x`, with `H` of shape `(k, k)`, where
`k = 2 h + 2 w`. This choice (a hybrid matrix) needs no division by a resistance or a conductance: a wire without
resistance passes its voltage, a device without conductance passes the wires' currents.

**A leaf** is a small block straight from Kirchhoff's laws. With `i` the currents of its devices and `u` the voltages
across them, the wires alone give `u = D x - Z i`: a device is driven by the ends of its own two lines, and loses what
all devices do to these lines. With `i = g u`

    i = S (D x + e),    S = (I + g Z)^-1 g,    H = H_0 + F D^T S D

where `e` are voltages in series with the devices (zero in the circuit, the residual in Newton's method), `H_0` are the
wires without devices and `F` is +1 for the ends L and R, -1 for T and B (reciprocity).

**Two neighbours** meet in ends of which the output of the one is the input of the other. With `o` for all other ends

    a = F_fo x_F + F_ff b,    b = S_fo x_S + S_ff a    =>    a = (I - F_ff S_ff)^-1 (F_fo x_F + F_ff S_fo x_S)

of the first (left or upper) block F and the second block S. One of `F_ff`, `S_ff` is a conductance matrix and the other
one a resistance matrix of the opposite sign, both semi-definite: the eigenvalues of `I - F_ff S_ff` are all at least 1,
and the inverse always exists.

Joined in pairs, n by n blocks become a tile in `2 log2(n)` steps, whose cost is that of some matrix products of the
tile's own size: O(n^3) in time and O(n^2) in memory. This is nested dissection (A. George, SIAM J. Numer. Anal. 10,
345, 1973) on blocks kept as dense matrices, as in hierarchical Poincare-Steklov schemes (A. Gillman, P. G. Martinsson,
SIAM J. Sci. Comput. 36, A2023, 2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hrat.simulation.nodal.wires import Wires

__all__ = ["Join", "Layout", "Leaves", "Steps", "inverse", "join", "make_leaves", "plan_steps"]

LEAF = 4
"""Smallest number of lines of either kind in a leaf of a large tile; a leaf has less than twice as many."""


def inverse(matrices: Tensor) -> Tensor:
    """The inverse of each matrix, `(..., k, k)`; NaN for one that has none in float64, on every machine.

    Mathematically all of a tile's matrices have one; where resistances differ by more than float64 can tell, rounding
    leaves none. Whoever asks for currents or conductances looks for NaN.
    """
    inverses: Tensor
    inverses, failed = torch.linalg.inv_ex(matrices)
    if bool(failed.any()):
        inverses = inverses.masked_fill((failed != 0)[..., None, None], torch.nan)
    return inverses


@dataclass(frozen=True)
class Layout:
    """Order of a block's ends: outer, inner, inner, outer.

    `(L, T, B, R)` where the next neighbour is to the right, `(T, L, R, B)` where it is below: the ends that meet are
    the last ones of the first block and the first ones of the second.
    """

    height: int
    width: int
    rightward: bool

    @property
    def outer(self) -> int:
        """Number of ends that meet."""
        return self.height if self.rightward else self.width

    @property
    def inner(self) -> int:
        """Number of ends of either other kind."""
        return self.width if self.rightward else self.height

    @property
    def ends(self) -> int:
        """Size of the block's matrix."""
        return 2 * (self.height + self.width)

    def slices(self) -> dict[str, slice]:
        """Positions of the ends `L`, `R`, `T`, `B`."""
        sizes = {"L": self.height, "T": self.width, "B": self.width, "R": self.height}
        places, start = {}, 0
        for name in "LTBR" if self.rightward else "TLRB":
            places[name] = slice(start, start + sizes[name])
            start += sizes[name]
        return places

    def joined(self, *, rightward: bool) -> Layout:
        """Layout of two blocks as one, made ready for its own next neighbour."""
        grown = (self.height, 2 * self.width) if self.rightward else (2 * self.height, self.width)
        return Layout(*grown, rightward)

    def moves(self, *, turn: bool) -> tuple[list[slice], list[slice]]:
        """Positions in the joined block of the ends that do not meet: three runs of either block.

        Args:
            turn: whether the next neighbour of the joined block stands in the other direction.
        """
        outer, inner = self.outer, self.inner
        order = ["aF", "aS", "X", "Y", "bF", "bS"] if turn else ["X", "aF", "aS", "bF", "bS", "Y"]
        place, start = {}, 0
        for name in order:
            size = outer if name in "XY" else inner
            place[name] = slice(start, start + size)
            start += size
        return [place[name] for name in ("X", "aF", "bF")], [place[name] for name in ("aS", "bS", "Y")]


@dataclass(frozen=True)
class Steps:
    """Division of a tile into leaves, and the order in which these are joined."""

    layouts: tuple[Layout, ...]
    """Layout of the leaves, and of the blocks after each step."""
    grid: tuple[int, int]
    """Leaves above one another, and side by side."""


def plan_steps(rows: int, cols: int) -> Steps:
    """Cut a tile of `rows` word lines and `cols` bit lines so that blocks stay about as high as wide."""
    down, right = _halvings(rows), _halvings(cols)
    height, width = -(-rows // 2**down), -(-cols // 2**right)
    grid = (2**down, 2**right)
    sizes = [(height, width)]
    directions = []
    while down or right:
        rightward = right > 0 and (down == 0 or width <= height)
        directions.append(rightward)
        height, width = (height, 2 * width) if rightward else (2 * height, width)
        down, right = (down, right - 1) if rightward else (down - 1, right)
        sizes.append((height, width))
    directions.append(True)
    return Steps(tuple(Layout(*size, way) for size, way in zip(sizes, directions, strict=True)), grid)


def _halvings(lines: int) -> int:
    return max(0, (lines // LEAF).bit_length() - 1)


@dataclass(frozen=True, kw_only=True)
class Leaves:
    """The smallest blocks of a tile, in a grid `(down, right)`; `e` counts the devices of a block, row by row."""

    h: Tensor
    """`(tiles, down, right, k, k)`, V and A to V and A."""
    s_S: Tensor
    """`(tiles, down, right, e, e)`, S: device currents by voltage in series with each device."""
    d: Tensor
    """`(down, right, e, k)`: what the ends do to the voltage across each device whose neighbours carry no current."""
    flip: Tensor
    """`(k, 1)`: +1 for the ends L and R, -1 for T and B."""


def make_leaves(g_S: Tensor, wires: Wires, steps: Steps) -> Leaves:
    """Cut conductances `(tiles, rows, cols)`, S, into leaves.

    Where the leaves are larger than the tile, lines without devices are added above the first word line and behind
    the last bit line, where they carry no current. The resistances of drivers and sense ends belong to the outermost
    segments.
    """
    layout, (down, right) = steps.layouts[0], steps.grid
    height, width = layout.height, layout.width
    above, behind = down * height - g_S.shape[-2], right * width - g_S.shape[-1]
    padded_S = torch.nn.functional.pad(g_S, (0, behind, above, 0))
    word_ohm, bit_ohm = _segments(padded_S, wires, behind)
    drop_ohm = word_ohm.view(right, width).cumsum(-1)  # from a block's left edge to each of its bit lines
    rise_ohm = bit_ohm.view(down, height).flip(-1).cumsum(-1).flip(-1)  # from each word line to its bottom edge
    d, h_0, flip = _bare_wires(drop_ohm, rise_ohm, layout)
    g_S = padded_S.view(-1, down, height, right, width).transpose(2, 3).flatten(-2).unsqueeze(-1)
    z_ohm = _wire_resistance(drop_ohm, rise_ohm)
    one = torch.eye(height * width, dtype=g_S.dtype, device=g_S.device)
    s_S = inverse(one + g_S * z_ohm) * g_S.mT
    return Leaves(h=h_0 + flip * (d.mT @ (s_S @ d)), s_S=s_S, d=d, flip=flip)


def _segments(g_S: Tensor, wires: Wires, behind: int) -> tuple[Tensor, Tensor]:
    """Resistance of each word-line segment `(cols,)` and bit-line segment `(rows,)` of a padded tile, ohm."""
    rows, cols = g_S.shape[-2:]
    word_ohm, bit_ohm = g_S.new_full((cols,), wires.word_ohm), g_S.new_full((rows,), wires.bit_ohm)
    word_ohm[cols - behind :] = 0.0  # so that the far end is that of the last real device
    word_ohm[0] += wires.driver_ohm
    bit_ohm[-1] += wires.sense_ohm
    return word_ohm, bit_ohm


def _bare_wires(drop_ohm: Tensor, rise_ohm: Tensor, layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
    """`D`, `H_0` and the flips of the signs, from `(right, width)` and `(down, height)` resistances, ohm."""
    (right, width), (down, height) = drop_ohm.shape, rise_ohm.shape
    at = {name: torch.arange(layout.ends, device=drop_ohm.device)[ends] for name, ends in layout.slices().items()}
    d = drop_ohm.new_zeros(down, right, height, width, layout.ends)
    for row in range(height):
        d[:, :, row, :, at["L"][row]] = 1.0
        d[:, :, row, :, at["R"][row]] = -drop_ohm
    for col in range(width):
        d[:, :, :, col, at["T"][col]] = -rise_ohm.unsqueeze(1)
        d[:, :, :, col, at["B"][col]] = -1.0
    h_0 = drop_ohm.new_zeros(down, right, layout.ends, layout.ends)
    for output, source in (("L", "R"), ("R", "L"), ("T", "B"), ("B", "T")):
        h_0[:, :, at[output], at[source]] = 1.0
    h_0[:, :, at["R"], at["R"]] = -drop_ohm[:, -1, None]
    h_0[:, :, at["T"], at["T"]] = rise_ohm[:, 0, None, None]
    flip = drop_ohm.new_ones(layout.ends, 1)
    flip[torch.cat([at["T"], at["B"]])] = -1.0
    return d.flatten(2, 3), h_0, flip


def _wire_resistance(drop_ohm: Tensor, rise_ohm: Tensor) -> Tensor:
    """`Z`, `(down, right, e, e)`, ohm: voltage that a device loses to the current of another one in its block.

    Two devices of one word line share the wire up to the one further left, two of one bit line the wire below the
    lower one.
    """
    (right, width), (down, height) = drop_ohm.shape, rise_ohm.shape
    word = torch.minimum(drop_ohm.unsqueeze(-1), drop_ohm.unsqueeze(-2)).view(1, right, 1, width, 1, width)
    bit = torch.minimum(rise_ohm.unsqueeze(-1), rise_ohm.unsqueeze(-2)).view(down, 1, height, 1, height, 1)
    same_row = torch.eye(height, dtype=drop_ohm.dtype, device=drop_ohm.device).view(1, 1, height, 1, height, 1)
    same_col = torch.eye(width, dtype=drop_ohm.dtype, device=drop_ohm.device).view(1, 1, 1, width, 1, width)
    return (word * same_row + bit * same_col).flatten(4, 5).flatten(2, 3)


@dataclass(frozen=True, kw_only=True)
class Join:
    """Matrices that lead from a joined block back to its two halves; `f` ends meet. Any number of pairs at once."""

    a: Tensor
    """`(..., f, k)`: outputs of the first block's ends that meet, by the inputs of the joined block."""
    b: Tensor
    """`(..., f, k)`: those of the second block."""
    inverse: Tensor
    """`(..., f, f)`: of `I - F_ff S_ff`."""
    f_ff: Tensor
    s_ff: Tensor
    f_of: Tensor
    s_of: Tensor


def join(first: Tensor, second: Tensor, layout: Layout, *, turn: bool) -> tuple[Tensor, Join]:
    """The matrix of two neighbours as one block.

    Args:
        first: `(..., k, k)`, the left or upper blocks.
        second: `(..., k, k)`, the right or lower blocks.
        layout: layout of each of them.
        turn: whether the next neighbour stands in the other direction.

    Returns:
        The matrices of the joined blocks, and what it takes to look inside again.
    """
    outer, others = layout.outer, layout.ends - layout.outer
    f_oo, f_of, f_fo, f_ff = _split(first, others)
    s_ff, s_fo, s_of, s_oo = _split(second, outer)
    of_first, of_second = layout.moves(turn=turn)
    size = 2 * others
    right = first.new_empty(*first.shape[:-2], outer, size)
    _put(right, of_first, f_fo)
    _put(right, of_second, f_ff @ s_fo)
    one = torch.eye(outer, dtype=first.dtype, device=first.device)
    meeting = inverse(one - f_ff @ s_ff)
    a = meeting @ right
    b = s_ff @ a
    _put(b, of_second, s_fo, add=True)
    whole = first.new_empty(*first.shape[:-2], size, size)
    for place, direct, through in ((of_first, f_oo, f_of @ b), (of_second, s_oo, s_of @ a)):
        _put(through, place, direct, add=True)
        _put(whole.mT, place, through.mT)
    return whole, Join(a=a, b=b, inverse=meeting, f_ff=f_ff, s_ff=s_ff, f_of=f_of, s_of=s_of)


def _split(h: Tensor, at: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return h[..., :at, :at], h[..., :at, at:], h[..., at:, :at], h[..., at:, at:]


def _put(into: Tensor, places: list[slice], columns: Tensor, *, add: bool = False) -> None:
    """Write neighbouring runs of columns to their places."""
    start = 0
    for place in places:
        run = columns[..., start : start + place.stop - place.start]
        if add:
            into[..., place] += run
        else:
            into[..., place] = run
        start += run.shape[-1]
