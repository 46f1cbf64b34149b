"""Effective conductances of a tile whose wires have resistance (IR drop).

Word line `i` is driven at column 0, behind `r_driver_ohm` and the first of one segment `r_word_ohm` for each device
(with `drive = "both_ends"` in the same way behind its last device too). Bit line `j` ends below the last row, behind
one segment `r_bit_ohm` for each device and `r_sense_ohm`, at a virtual ground:

    v_i --[r_driver]--[r_word]--+--[r_word]--+-- ...        device (i, j) joins word line i and bit line j
                                |            |
                              G_i0         G_i1
                                |            |
                             [r_bit]      [r_bit]  ... --[r_sense]-- 0 V

The tile is linear: `I_j = sum_i M_ij v_i`, and `M` is its effective conductance. The exact `M` takes the solution of a
system of `2 rows * cols` unknowns. This approximation takes a few passes over the conductances:

    M_ij = w_ij G_ij u_ij + T_ij

* `w`: voltage along word line i, driven with 1 V, all bit lines at 0 V: `w + Z_w (G w) = 1`, solved exactly.
* `u`: share of a current into bit line j that reaches its end, all word lines at 0 V: `u + Z_b (G u) = 1`, likewise.
* `T`: the detour. What row i sends into bit line m raises it; a part leaks into the other word lines, raises these, and
  comes out through their devices of column j. That is a sum over so many devices that their mean `g` stands for each
  of them. In the eigenvectors of `Z_b` and `Z_w`, with eigenvalues `b` and `c` in ohm, it is a product:

      from bit line m at row i to word line k at column j:    g b c / (1 + g b + g c)

  It links what the rows send, `G w`, to what the columns take, `G u`. Either is taken as it is, with the mean of the
  other, to first order in how far they are from their means. The detour is smooth, so that few eigenvectors do.

`Z` of a line is the resistance matrix of its ladder, `Z_jm` the voltage lost at node j for 1 A drawn at node m
(Kirchhoff's laws; the network is that of Chen, IEEE Trans. Electron Devices 60, 1318 (2013)).

Limits: exact to the first order in the wires; exact for equal devices, and where the wires of one direction are ideal;
never negative; ohmic devices, whole lines. Elsewhere measured against the exact solution, for 50 to 200 uS, weights
spread evenly, as after training, or mostly zero, and 0.1, 0.35, 1 and 2.8 ohm a segment (96 to 5 % of the current are
left). The worst errors, at 2.8 ohm if not said otherwise:

    pairs of the tile                             64 x 64     128 x 128     256 x 256
    current of a line, inputs of one sign           0.6 %         0.9 %         1.0 %
    I+ - I-, dual rail, rms                         0.3 %         0.4 %         0.5 %
    I+ - I-, two stages, rms                        1.3 %         1.8 %         3.0 %
    at 1 ohm, dual rail / two stages          0.1 / 0.5 %   0.2 / 1.1 %   0.3 / 2.5 %

Its gradient with respect to the conductances lies within 1 % (rms, 64 x 64 pairs, up to 2.8 ohm) of the exact one, the
adjoint of the linear solution.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from hrat.spec import Array

__all__ = ["attenuated"]

MODES = 16
"""Eigenvectors of each direction in which the detour is written: the eigenvalues fall with the square of their number,
and more of them change no figure above."""


def attenuated(g_S: Tensor, array: Array) -> Tensor:
    """Effective conductances of tiles, in siemens; differentiable once.

    Args:
        g_S: conductances of the devices, `(..., rows, cols)`, S: physical word lines and bit lines of one tile.
        array: names the wires. Its own `rows` and `cols` do not matter, nor does `limit_wires`.

    Returns:
        `M` of `I_j = sum_i M_ij v_i`, the shape of `g_S`, S; `g_S` to the last bit where all wires are ideal.
    """
    both = array.drive == "both_ends"
    kind = g_S.device.type
    # A bfloat16 product would lose more than the approximation does.
    with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
        # The ladder runs along the first of two dimensions, from the driven end on; a bit line's is its last row.
        rows, cols = g_S.shape[-2:]
        lines = g_S.movedim(-1, 0).reshape(cols, -1)
        w = _ladder(lines, array.r_word_ohm, array.r_driver_ohm, both)
        w = w.view(cols, *g_S.shape[:-1]).movedim(0, -1)
        lines = g_S.flip(-2).movedim(-2, 0).reshape(rows, -1)
        u = _ladder(lines, array.r_bit_ohm, array.r_sense_ohm, False)
        u = u.view(rows, *g_S.shape[:-2], cols).movedim(0, -2).flip(-2)
        sent, taken = g_S * w, g_S * u
        like = g_S.detach()
        detour = _detour(
            sent,
            taken,
            g_S.mean((-2, -1), keepdim=True),
            _modes(like, cols, array.r_word_ohm, array.r_driver_ohm, both, False),
            _modes(like, rows, array.r_bit_ohm, array.r_sense_ohm, False, True),
        )
        return torch.addcmul(detour, sent, u)


def _detour(sent: Tensor, taken: Tensor, g: Tensor, word: tuple[Tensor, Tensor], bit: tuple[Tensor, Tensor]) -> Tensor:
    """`T`, `(..., rows, cols)`, S.

    Args:
        sent: `G w`, `(..., rows, cols)`, S.
        taken: `G u`, likewise.
        g: mean conductance, `(..., 1, 1)`, S.
        word: eigenvalues `(modes,)`, ohm, and eigenvectors `(cols, modes)` of `Z_w`.
        bit: eigenvalues `(modes,)`, ohm, and eigenvectors `(rows, modes)` of `Z_b`.
    """
    (c, along_word), (b, along_bit) = word, bit
    coupling = g * b[:, None] * c / (1 + g * b[:, None] + g * c)
    sent_in, taken_in = sent @ along_word, along_bit.mT @ taken  # (rows, modes), (modes, cols)
    mean_sent, mean_taken = sent_in.mean(-2, keepdim=True), taken_in.mean(-1, keepdim=True)
    tiny = torch.finfo(g.dtype).tiny  # a tile without conductance must not divide by zero
    row_strength, col_strength = sent.sum(-1, keepdim=True), taken.sum(-2, keepdim=True)
    row_strength = row_strength / row_strength.mean(-2, keepdim=True).clamp(min=tiny)
    col_strength = col_strength / col_strength.mean(-1, keepdim=True).clamp(min=tiny)
    from_rows = ((along_bit @ (mean_taken * coupling)) * sent_in) @ along_word.mT * col_strength
    half = (coupling * mean_sent) @ along_word.mT
    to_cols = along_bit @ (half * taken_in - (half * mean_taken) * col_strength) * row_strength
    # Far from the mean, the first order may overshoot; a detour takes nothing away.
    return (from_rows + to_cols).clamp(min=0.0)


# ---- lines -------------------------------------------------------------------------------------------------------


def resistance_matrix(n: int, r_segment_ohm: float, r_end_ohm: float, both_ends: bool = False) -> Tensor:
    """`Z`: voltage lost at node j for 1 A drawn at node m, `(n, n)`, ohm, float64.

    Args:
        n: nodes of the line, node 0 next to the driven end.
        r_segment_ohm: between neighbours, and from the end to node 0.
        r_end_ohm: resistance in series to the driven end.
        both_ends: whether the far end, behind a segment of its own, is held likewise.
    """
    node = torch.arange(n, dtype=torch.float64)
    near, far = torch.minimum(node, node[:, None]), torch.maximum(node, node[:, None])
    to_near = r_end_ohm + r_segment_ohm * (near + 1)
    if not both_ends:
        return to_near
    whole = 2 * r_end_ohm + r_segment_ohm * (n + 1)
    to_far = r_end_ohm + r_segment_ohm * (n - far)
    return to_near * to_far / whole if whole > 0 else torch.zeros_like(to_near)


@lru_cache(maxsize=256)
def _eigen(n: int, r_segment_ohm: float, r_end_ohm: float, both_ends: bool) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(resistance_matrix(n, r_segment_ohm, r_end_ohm, both_ends))
    return values[-MODES:].clamp(min=0.0), vectors[:, -MODES:]


# As operators of torch's own, what is cached and what loops stay closed to torch.compile, which would unroll them.


@torch.library.custom_op("hrat::line_modes", mutates_args=())
def _modes(
    like: Tensor, n: int, r_segment_ohm: float, r_end_ohm: float, both_ends: bool, reverse: bool
) -> tuple[Tensor, Tensor]:
    """Largest eigenvalues of `Z`, `(modes,)`, ohm, and their vectors, `(n, modes)`; reversed: node 0 comes last."""
    values, vectors = _eigen(n, r_segment_ohm, r_end_ohm, both_ends)
    vectors = vectors.flip(0) if reverse else vectors
    return like.new_empty(values.shape).copy_(values), like.new_empty(vectors.shape).copy_(vectors)


@_modes.register_fake
def _(
    like: Tensor, n: int, r_segment_ohm: float, r_end_ohm: float, both_ends: bool, reverse: bool
) -> tuple[Tensor, Tensor]:
    return like.new_empty(min(n, MODES)), like.new_empty(n, min(n, MODES))


@torch.library.custom_op("hrat::ladder", mutates_args=())
def _solved_ladder(g_S: Tensor, r_segment_ohm: float, r_end_ohm: float, both_ends: bool) -> tuple[Tensor, Tensor]:
    """Voltage of each node, `(n, lines)`, V, and what `_solve` needs: `s_j = 1 + r_j Y_j`, `(n, lines)`.

    `Y_j` is the conductance to ground that the ladder shows from node j on,

        Y_j = G_j + Y_(j+1) / s_(j+1)
    """
    factors, y, one = torch.empty_like(g_S), torch.zeros_like(g_S[0]), torch.ones_like(g_S[0])
    at_far_end = r_segment_ohm + r_end_ohm
    held = both_ends and at_far_end > 0.0
    if held:
        y.fill_(1.0 / at_far_end)
    devices, s = g_S.unbind(), factors.unbind()
    for j in range(len(devices) - 1, -1, -1):
        y = torch.addcdiv(devices[j], y, s[j + 1] if j + 1 < len(s) else one, out=y)
        torch.add(one, y, alpha=r_segment_ohm + (r_end_ohm if j == 0 else 0.0), out=s[j])
    if both_ends and not held:
        return torch.ones_like(g_S), torch.ones_like(g_S)  # no resistance at all
    if not held:
        return torch.cumprod(factors.reciprocal(), 0), factors
    drawn = torch.zeros_like(g_S)
    drawn[-1] = 1.0 / at_far_end
    return _solve(factors, drawn, 1.0, r_segment_ohm, r_end_ohm), factors


@_solved_ladder.register_fake
def _(g_S: Tensor, r_segment_ohm: float, r_end_ohm: float, both_ends: bool) -> tuple[Tensor, Tensor]:
    return torch.empty_like(g_S), torch.empty_like(g_S)


@torch.library.custom_op("hrat::ladder_gradient", mutates_args=())
def _ladder_gradient(grad: Tensor, voltage: Tensor, factors: Tensor, r_segment_ohm: float, r_end_ohm: float) -> Tensor:
    """From `(Z^-1 + diag G) w = Z^-1 1`: `dL/dG = -w (Z^-1 + diag G)^-1 dL/dw`."""
    return _solve(factors, grad.contiguous(), 0.0, r_segment_ohm, r_end_ohm).mul_(voltage).neg_()


@_ladder_gradient.register_fake
def _(grad: Tensor, voltage: Tensor, factors: Tensor, r_segment_ohm: float, r_end_ohm: float) -> Tensor:
    return torch.empty_like(voltage)


def _solve(factors: Tensor, drawn: Tensor, v_end: float, r_segment_ohm: float, r_end_ohm: float) -> Tensor:
    """Voltages of a ladder whose node j receives the current `drawn[j]` and whose end is held at `v_end`, V.

    J_j = drawn_j + J_(j+1) / s_(j+1),        v_j = (v_(j-1) + r_j J_j) / s_j
    """
    solved = drawn.clone()
    nodes, s = solved.unbind(), factors.unbind()
    for j in range(len(nodes) - 2, -1, -1):
        nodes[j].addcdiv_(nodes[j + 1], s[j + 1])
    before = torch.full_like(nodes[0], v_end)
    for j, node in enumerate(nodes):
        torch.add(before, node, alpha=r_segment_ohm + (r_end_ohm if j == 0 else 0.0), out=node)
        before = node.div_(s[j])
    return solved


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _, ctx.r_segment_ohm, ctx.r_end_ohm, _ = inputs
    ctx.save_for_backward(*output)


def _backward(ctx: Any, grad: Tensor, _factors: Tensor | None) -> tuple[Tensor | None, ...]:
    voltage, factors = ctx.saved_tensors
    return _ladder_gradient(grad, voltage, factors, ctx.r_segment_ohm, ctx.r_end_ohm), None, None, None


_solved_ladder.register_autograd(_backward, setup_context=_keep)


def _ladder(g_S: Tensor, r_segment_ohm: float, r_end_ohm: float, both_ends: bool) -> Tensor:
    """Voltages along lines whose end (ends) is held at 1 V, all devices leading to 0 V.

    Args:
        g_S: conductances, `(n, lines)`, S, node 0 next to the driven end.
        r_segment_ohm: between neighbours, and from the end to node 0.
        r_end_ohm: resistance in series to the end.
        both_ends: whether the far end is driven too.

    Returns:
        `(n, lines)`, V, within (0, 1].
    """
    voltage: Tensor = _solved_ladder(g_S.contiguous(), r_segment_ohm, r_end_ohm, both_ends)[0]
    return voltage
