"""`check_readout`: what a read-out has to keep, so that training, solvers and estimate may ask the same object."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor

from hrat.encoding import Geometry, Readout, tile_grid
from hrat.spec import HardwareSpec, load_spec
from hrat.testing.compare import compared
from hrat.testing.report import CheckReport, Finding, held, merged, true_or_not

__all__ = ["check_readout"]

ROUNDING = 1e-12

CLAIMS = {
    "states": "realisable fractions stay as they are and lie within the window, and zero is one",
    "weights": "G+ - G- of a realisable fraction is that fraction of the window, within the device's states",
    "negatives": "the negative partners have the shape that is claimed, for each weight and for each device",
    "grid": "devices lie on the wires once each, and are found there again",
    "tiles": "the tiles' lines are all lines of the grid, once each",
    "lines": "each line of the grid is named as it is driven and gathered",
    "currents": "currents of the grid are those of the formula",
    "amplifiers": "amplifiers inside are taken off by the outputs that are claimed",
}


def check_readout(
    spec: HardwareSpec | str | os.PathLike[str],
    *,
    readout: Readout | None = None,
    seed: int = 0,
    throw: bool = True,
) -> CheckReport:
    """Hold a read-out against what everything that computes a layer takes for granted of it.

    On a grouped convolution over several tiles, the last of them filled in part.

    Args:
        spec: the hardware, or what `hrat.load_spec` takes.
        readout: of your own, in place of the one that the spec names.
        seed: of the random numbers.
        throw: False to return a report with what is broken.

    Returns:
        A finding for each clause; differences are relative to the largest value.

    Raises:
        LawError: a clause is broken, and `throw` is on.
        SpecError: the spec is not valid.
    """
    hardware = load_spec(spec).replace({"array.rows": 5, "array.cols": 3})
    case = _Case(hardware, readout or Readout.of(hardware), seed)
    checks: dict[str, Callable[[], Finding]] = {
        "states": case.states,
        "weights": case.weights,
        "negatives": case.negatives,
        "grid": case.grid,
        "tiles": case.tiles,
        "lines": case.lines,
        "currents": case.currents,
        "amplifiers": case.amplifiers,
    }
    findings = tuple(held(name, CLAIMS[name], check) for name, check in checks.items())
    report = CheckReport(subject=f"contract of the read-out {case.readout.name} of {hardware.name}", findings=findings)
    return report.require() if throw else report


class _Case:
    """A layer of two groups, each of 12 x 8 weights on 3 x 3 tiles."""

    def __init__(self, spec: HardwareSpec, readout: Readout, seed: int) -> None:
        self.spec, self.readout, self.device = spec, readout, spec.device
        self.geometry = Geometry(
            kind="conv",
            in_channels=6,
            out_channels=16,
            kernel=(2, 2),
            stride=(1, 1),
            padding=((0, 0), (0, 0)),
            dilation=(1, 1),
            groups=2,
        )
        generator = torch.Generator().manual_seed(seed)
        wanted = 2.4 * torch.rand(self.geometry.weight_shape, dtype=torch.float64, generator=generator) - 1.2
        self.fraction = readout.quantise_(wanted.clone(), self.device)
        self.inner = readout.negatives(self.geometry)
        pos_S, neg_S = readout.encode(self.fraction, self.geometry, self.device)
        self.pos_S, self.neg_S = self.geometry.to_matrix(pos_S), self.inner.to_matrix(neg_S)
        # Devices that differ, as after programming.
        self.pos_S = self.pos_S * (1 + 0.1 * torch.rand(self.pos_S.shape, dtype=torch.float64, generator=generator))
        self.neg_S = self.neg_S * (1 + 0.1 * torch.rand(self.neg_S.shape, dtype=torch.float64, generator=generator))
        self.cols = self.geometry.matrix_shape[2]
        self.rows = self.geometry.matrix_shape[1]
        self.voltage_V = torch.rand(4, self.rows, dtype=torch.float64, generator=generator) - 0.5

    def states(self) -> Finding:
        quantise, device = self.readout.quantise_, self.device
        again = quantise(self.fraction.clone(), device)
        nothing = torch.zeros(3, dtype=torch.float64)
        within = bool((self.fraction.abs() <= 1 + ROUNDING).all())
        return merged(
            [
                compared("again", "", again, self.fraction, bound=ROUNDING),
                compared("zero", "", quantise(nothing.clone(), device), nothing, bound=ROUNDING),
                true_or_not("window", "", within, "fractions beyond 1: they are to saturate at the end of the window"),
            ]
        )

    def weights(self) -> Finding:
        pos_S, neg_S = self.readout.encode(self.fraction, self.geometry, self.device)
        difference_S = self.geometry.to_matrix(pos_S) - self._for_each_weight(self.inner.to_matrix(neg_S))
        fraction = difference_S / self.readout.full_S(self.device)
        lowest_S, highest_S = self.device.states_S[0], self.device.states_S[-1]
        both_S = torch.cat([pos_S.flatten(), neg_S.flatten()])
        within = bool(((both_S >= lowest_S * (1 - ROUNDING)) & (both_S <= highest_S * (1 + ROUNDING))).all())
        return merged(
            [
                compared("weights", "", fraction, self.geometry.to_matrix(self.fraction), bound=ROUNDING),
                true_or_not("states", "", within, f"targets outside of [{lowest_S:g}, {highest_S:g}] S"),
            ]
        )

    def negatives(self) -> Finding:
        readout, count = self.readout, self.readout.count_negatives(self.cols)
        wanted = (self.geometry.groups, self.rows, count)
        full = self._for_each_weight(self.neg_S)
        sound = self.inner.matrix_shape == wanted and full.shape == self.pos_S.shape
        same = sound and torch.equal(readout.once_for_each_device(full), self.neg_S)
        shared = readout.shares_negatives == (count < self.cols)
        detail = f"expected {wanted} negative partners, each for some weights; got {self.inner.matrix_shape}"
        return true_or_not("negatives", "", same and shared, detail)

    def grid(self) -> Finding:
        grid_S = self.readout.to_grid(self.pos_S, self.neg_S)
        pos_S, neg_S = self.readout.from_grid(grid_S)
        n_devices = self.pos_S.numel() + self.neg_S.numel()
        once = grid_S.numel() == n_devices and torch.equal(
            grid_S.flatten().sort().values, torch.cat([self.pos_S.flatten(), self.neg_S.flatten()]).sort().values
        )
        back = pos_S.shape == self.pos_S.shape and torch.equal(pos_S, self.pos_S) and torch.equal(neg_S, self.neg_S)
        return true_or_not("grid", "", once and back, f"a grid of {tuple(grid_S.shape)} for {n_devices} devices")

    def tiles(self) -> Finding:
        grid_S = self.readout.to_grid(self.pos_S[0], self.neg_S[0])
        covered = torch.zeros(grid_S.shape, dtype=torch.int64)
        same = True
        for tile in tile_grid((1, self.rows, self.cols), self.spec.array):
            lines = self.readout.grid_lines(tile)
            covered[lines] += 1
            own_S = self.readout.to_grid(self.pos_S[tile.index], self.neg_S[self.readout.negatives_of(tile)])
            same = same and torch.equal(own_S, grid_S[lines])
        detail = "a tile's part of the layer's grid differs from the grid of the tile, or covers lines twice or never"
        return true_or_not("tiles", "", same and bool((covered == 1).all()), detail)

    def lines(self) -> Finding:
        """Each device alone: its current has to leave by the line, and with the sign, that it is said to have."""
        wrong: list[str] = []
        driven = self.readout.drive(torch.arange(1.0, self.rows + 1, dtype=torch.float64))
        for i, value in enumerate(driven.tolist()):
            row, inverted = self.readout.word_line(i)
            if value != (-1 if inverted else 1) * (row + 1):
                wrong.append(f"word line {i}")
        n_lines = self.readout.to_grid(self.pos_S[0], self.neg_S[0]).shape[-1]
        parts = self.readout.bit_line_currents(torch.arange(float(n_lines)))
        for j in range(n_lines):
            number, is_inner = self.readout.bit_line(j, self.cols)
            if float(parts[int(is_inner)][number]) != j:
                wrong.append(f"bit line {j}")
        return true_or_not("lines", "", not wrong, f"named otherwise than driven or gathered: {', '.join(wrong)}")

    def currents(self) -> Finding:
        readout = self.readout
        lines_A = readout.drive(self.voltage_V) @ readout.to_grid(self.pos_S[0], self.neg_S[0])
        last_A, *inner_A = readout.bit_line_currents(lines_A)
        for part_A in inner_A:
            last_A = last_A - readout.for_each_weight(part_A, self.cols)
        wanted_A = self.voltage_V @ (self.pos_S[0] - self._for_each_weight(self.neg_S)[0])
        return compared("currents", "", last_A, wanted_A, bound=ROUNDING)

    def amplifiers(self) -> Finding:
        readout, count = self.readout, self.readout.count_negatives(self.cols)
        feeds = readout.inner_feeds(self.cols)
        if not readout.inner_amplifiers:
            return true_or_not("amplifiers", "", not feeds, "outputs take off amplifiers inside, and there are none")
        taken = [k for k, outputs in enumerate(feeds) for _ in outputs]
        wanted = readout.for_each_weight(torch.arange(count), self.cols).tolist()
        order = [j for outputs in feeds for j in outputs]
        inputs = torch.rand(2, 6, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        voltage_V = self.inner.apply(inputs, self.inner.from_matrix(self.neg_S))
        each_V = self.geometry.apply(inputs, self.geometry.from_matrix(self._for_each_weight(self.neg_S)))
        return merged(
            [
                true_or_not("feeds", "", order == list(range(self.cols)) and taken == wanted, f"got {feeds}"),
                compared("outputs", "", readout.for_each_output(voltage_V, self.geometry), each_V, bound=ROUNDING),
            ]
        )

    def _for_each_weight(self, neg_S: Tensor) -> Tensor:
        return self.readout.for_each_weight(neg_S, self.cols)
