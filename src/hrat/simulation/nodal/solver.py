"""Kirchhoff's laws as a way to solve the layers of a network."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from hrat.artifacts import ProgrammedChip
from hrat.encoding import LayerReadout
from hrat.errors import HratError
from hrat.physics import Draw, conducting_V, has_amplifier_errors, is_curved
from hrat.simulation.nested import changed
from hrat.simulation.nodal.layers import layer_from_ends
from hrat.simulation.nodal.tile import TileSolver
from hrat.simulation.nodal.wires import Wires
from hrat.simulation.solvers import LayerModel, SolverError, Statistics, linear_model
from hrat.spec import HardwareSpec

__all__ = ["Nodal"]


@dataclass(frozen=True, kw_only=True)
class Nodal:
    """Every segment of wire, driver and sense resistance of the spec's arrays (`array.limit_wires`), exactly.

    A tile of ohmic devices is linear: its effective conductances are found once, in float64, and inference then costs a
    matrix product as in the behavioural solver. With curved devices each input takes Newton's method of its own.
    Amplifiers are those of `hrat.physics.amplifiers`; what a voltage at the input of one does to others, through word
    lines that they share, is exact as well. Limits: of a finite gain, whose inputs are off by `V_out / A`, only what it
    does to its own column is counted; to offset and noise curved devices are ohmic.
    """

    curvature_V: float | None = None
    """`u_0` of devices whose current is `G u_0 sinh(u / u_0)`, V; None: as the spec has it (`device.curvature_V`)."""

    name = "nodal"

    def __post_init__(self) -> None:
        """Refuse a curvature that no device has."""
        if self.curvature_V is not None and not 0 < self.curvature_V < math.inf:
            raise HratError(
                f"Nodal: expected a finite curvature_V of more than 0 V, got {self.curvature_V!r}; leave it out for "
                "ohmic devices"
            )

    def making(self, spec: HardwareSpec) -> int:
        """Two conductances for each gain in float64, their effective ones, and the blocks of the tiles at hand."""
        return 24 if spec.array.limit_wires else 8

    def models(
        self, chip: ProgrammedChip, names: Sequence[str], device: torch.device, statistics: Statistics
    ) -> dict[str, LayerModel]:
        """Gains of the layers, or callables for curved devices; see `hrat.simulation.solvers.Solver`."""
        models: dict[str, LayerModel] = {}
        for name in names:
            start = time.perf_counter()
            curvature_V = self.curvature_V
            if curvature_V is None and is_curved(chip.deployment.spec.device):
                # Behind ideal wires that is a matter of the word lines' voltages, see `hrat.physics.conduction`.
                wires = Wires.of(chip.deployment.spec.array)
                curvature_V = None if wires.is_ideal else chip.deployment.spec.device.curvature_V
            if curvature_V is None or device.type == "meta":
                grounds = has_amplifier_errors(chip.deployment.spec.periphery) and device.type != "meta"
                g_pos_S, g_neg_S, ground_S = layer_from_ends(chip, name, device=device, grounds=grounds)
                model = linear_model(chip, name, (g_pos_S, g_neg_S), ground_S=ground_S)
                models[name] = changed(model, partial(_to, dtype=chip.layers[name].g_pos_S.dtype))
            else:
                layers = [_CurvedLayer(chip, index, name, curvature_V, device) for index in range(chip.n_chips)]
                amounts = statistics.setdefault(name, {})
                models[name] = tuple(partial(_run, layer.outputs, name, amounts) for layer in layers)
            of_layer = statistics.setdefault(name, {})
            of_layer["seconds"] = of_layer.get("seconds", 0.0) + time.perf_counter() - start
        return models


def _to(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype)


def _run(solve: Callable[..., Tensor], name: str, amounts: dict[str, float], voltage_V: Tensor, *draw: Draw) -> Tensor:
    """Outputs of the layer `name`; what they take is told."""
    start = time.perf_counter()
    try:
        return solve(voltage_V, *draw)
    except SolverError as error:
        raise SolverError(f"layer {name}: {error}") from error
    finally:
        amounts["seconds"] = amounts.get("seconds", 0.0) + time.perf_counter() - start


class _CurvedLayer:
    """A layer of one chip whose devices are not ohmic."""

    def __init__(self, chip: ProgrammedChip, index: int, name: str, curvature_V: float, device: torch.device) -> None:
        self.spec = chip.deployment.spec
        self.device = self.spec.device.model_copy(update={"curvature_V": curvature_V, "limit_curvature": True})
        self.layer = chip.deployment.layers[name]
        self.tiles = chip.deployment.tiles(name)
        self.bias_V = chip.bias_V(name, index)
        self.whole = LayerReadout.of(self.layer.geometry, self.spec)
        self.readout = self.whole.amplifiers
        model = linear_model(
            chip[index],
            name,
            (
                chip.layers[name].g_pos_S[index : index + 1].double(),
                chip.layers[name].g_neg_S[index : index + 1].double(),
            ),
        )
        self.errors = model.of_chip(0).errors
        g_pos_S, g_neg_S = (
            g_S[index].to(device, torch.float64) for g_S in (chip.layers[name].g_pos_S, chip.layers[name].g_neg_S)
        )
        wires = Wires.of(self.spec.array)
        self.solvers: list[Callable[[Tensor], Tensor]] = [
            TileSolver(
                self.readout.to_grid(g_pos_S[tile.index], g_neg_S[self.readout.negatives_of(tile)]),
                wires,
                curvature_V=curvature_V,
            ).compute
            for tile in self.tiles
        ]

    def outputs(self, voltage_V: Tensor, draw: Draw | None = None) -> Tensor:
        """Word-line voltages `(images, in, *space)` -> amplifier outputs, V."""
        geometry = self.layer.geometry
        patches_V = geometry.patches(voltage_V.double())  # (images, groups, rows, positions)
        n_images, groups, _, n_positions = patches_V.shape
        if self.layer.row_inputs is not None:
            of_lines = self.layer.row_inputs[None, :, :, None].expand(n_images, -1, -1, n_positions)
            patches_V = patches_V.gather(2, of_lines)
        # Tiles above one another share amplifiers, unless each has ADCs of its own.
        sums, widths = self.whole.n_sums, [part.matrix_shape[2] for part in self.whole.term_geometries]
        terms_A = [patches_V.new_zeros(sums, groups, n_images * n_positions, width) for width in widths]
        for tile, solve in zip(self.tiles, self.solvers, strict=True):
            place = 0 if sums == 1 else tile.grid_row
            inputs_V = patches_V[:, tile.group, tile.rows].mT.flatten(0, 1)
            lines_A = solve(self.readout.drive(inputs_V))
            at = tile.cols, self.readout.negatives_of(tile)[2]
            for current_A, part_A, lines in zip(terms_A, self.readout.bit_line_currents(lines_A), at, strict=False):
                current_A[place, tile.group, :, lines] += part_A
        if self.layer.col_outputs is not None:
            of_outputs = self.layer.col_outputs.argsort(-1)[None, :, None].expand_as(terms_A[0])
            terms_A = [current_A.gather(3, of_outputs) for current_A in terms_A]
        terms_V = []
        for current_A, part in zip(terms_A, self.whole.term_geometries, strict=True):
            lines_V = (current_A * self.layer.r_f_ohm).unflatten(2, (n_images, n_positions)).permute(0, 2, 1, 4, 3)
            of_sums = torch.stack([part.from_lines(one_V, voltage_V) for one_V in lines_V])
            terms_V.append(of_sums[0] if self.whole.tiles is None else of_sums)
        full_scale_V, bias_V = self.layer.tile_adc_V, self.bias_V
        return self.whole.outputs(
            tuple(terms_V),
            conducting_V(voltage_V.double(), self.device),
            full_scale_V=None if full_scale_V is None else full_scale_V.to(terms_V[0]),
            bias_V=None if bias_V is None else bias_V.to(terms_V[0]),
            errors=self.errors[0] if self.errors else None,
            draw=draw,
        )
