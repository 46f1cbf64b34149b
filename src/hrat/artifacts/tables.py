"""Plain tables (CSV) of an artefact, for a lab that programs a real chip with its own tools.

`layers.csv`
    layer, kind, groups, rows, cols, r_f_ohm, readout
`conductances/<layer>.csv`
    chip, group, tile, row, col, g_pos_S, g_neg_S, and for targets tolerance_pos_S, tolerance_neg_S, the one standard
    deviation of the programming error that training counted on. `row` and `col` count within the tile, whose name
    gives its place in the grid. Chips that were programmed pulse by pulse have set_pulses, reset_pulses,
    pulse_energy_J and status (0 accepted, 1 budget spent, 2 stuck, 3 not read) too, `_pos` and `_neg`.
    Where programming aims at something else than the target (`programming.aim`), also
    aim_pos_S, aim_neg_S. A device that several weights share stands in the line of each.
`lines.csv`
    layer, group, line, number, signal: word line `number` of the layer carries input `signal`, bit line `number` yields
    output `signal`; only of layers whose lines are not in the order of their inputs and outputs
`bias.csv`
    layer, output, code, voltage_V
`converters.csv`
    converter, kind, channel, alpha_V: volts per unit of a digital value
`tile_adcs.csv`
    layer, grid_row, bits, full_scale_V: of layers whose tiles have ADCs of their own; their biases are digital
`spec.toml`, `graph.json`
    the hardware, and the operations between the layers in their order
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hrat.artifacts.chip import ProgrammedChip
from hrat.artifacts.deployment import Deployment
from hrat.artifacts.pulse_log import PulseColumns
from hrat.circuit import converters, encode_node
from hrat.encoding import Readout, Tile
from hrat.errors import ArtifactError
from hrat.files import atomic_path, path_within, paths_within, write_atomic
from hrat.physics import aim_S, sigma_S
from hrat.tables import csv_text

__all__ = ["export_csv"]


_LOG = tuple(name if name != "energy_J" else "pulse_energy_J" for name in PulseColumns.NAMES)


def export_csv(artifact: Deployment | ProgrammedChip, folder: str | os.PathLike[str]) -> list[Path]:
    """Write the tables of a deployment (targets) or of programmed chips (achieved conductances).

    Returns:
        The files written.

    Raises:
        ArtifactError: the folder holds tables of another chip.
        HratError: the name of a layer cannot be that of a file, or a link leads out of the folder.
        OSError: the folder cannot be written or the disk is full; each file is whole or absent.
    """
    root = Path(folder)
    deployment = artifact.deployment if isinstance(artifact, ProgrammedChip) else artifact
    own = path_within(root, "conductances")
    paths = paths_within(own, deployment.layers, ".csv")
    expected_names = {path.name for path in paths.values()}
    stale = sorted(path.name for path in own.glob("*.csv") if path.name not in expected_names)
    if stale:
        raise ArtifactError(
            f"{own} holds tables of another chip ({stale[0]}); expected an empty folder, so that "
            "tables of two chips do not mix"
        )
    texts = {
        "spec.toml": deployment.spec.to_toml(),
        "graph.json": json.dumps([encode_node(node) for node in deployment.graph], indent=1) + "\n",
        "layers.csv": _layers(deployment),
        "lines.csv": _lines(deployment),
        "bias.csv": _biases(deployment),
        "converters.csv": _converters(deployment),
        "tile_adcs.csv": _tile_adcs(deployment),
    }
    written = [write_atomic(path_within(root, name), text) for name, text in texts.items()]
    return written + [_conductances(artifact, deployment, name, path) for name, path in paths.items()]


def _layers(deployment: Deployment) -> str:
    readout = deployment.spec.periphery.readout
    return csv_text(
        ("layer", "kind", "groups", "rows", "cols", "r_f_ohm", "readout"),
        (
            (layer.name, layer.geometry.kind, *layer.array_shape, layer.r_f_ohm, readout)
            for layer in deployment.layers.values()
        ),
    )


def _lines(deployment: Deployment) -> str:
    rows: list[tuple[str, int, str, int, int]] = []
    for layer in deployment.layers.values():
        for line, signals in (("word", layer.row_inputs), ("bit", layer.col_outputs)):
            for group, of_group in enumerate([] if signals is None else signals.tolist()):
                rows += [(layer.name, group, line, number, signal) for number, signal in enumerate(of_group)]
    return csv_text(("layer", "group", "line", "number", "signal"), rows)


def _biases(deployment: Deployment) -> str:
    rows: list[tuple[str, int, Any, str, str]] = []
    periphery = deployment.spec.periphery
    for layer in deployment.layers.values():
        if layer.bias_V is None:
            continue
        full_scale_V = periphery.v_bias_V if layer.bias_full_scale_V is None else layer.bias_full_scale_V
        of_dac = "" if layer.bias_codes is None else repr(full_scale_V)
        codes = [""] * len(layer.bias_V) if layer.bias_codes is None else layer.bias_codes.tolist()
        for output, (code, voltage) in enumerate(zip(codes, _texts(layer.bias_V), strict=True)):
            rows.append((layer.name, output, code, voltage, of_dac))
    return csv_text(("layer", "output", "code", "voltage_V", "full_scale_V"), rows)


def _converters(deployment: Deployment) -> str:
    rows = [
        (name, kind, channel, alpha)
        for name, kind, key in converters(deployment.graph)
        for channel, alpha in enumerate(_texts(deployment.tensors[key.key]))
    ]
    return csv_text(("converter", "kind", "channel", "alpha_V"), rows)


def _tile_adcs(deployment: Deployment) -> str:
    periphery = deployment.spec.periphery
    bits = periphery.tile_adc_bits if periphery.limit_tile_adc else ""
    rows: list[tuple[str, int, Any, str]] = []
    for layer in deployment.layers.values():
        if layer.tile_adc_V is not None:
            rows += [(layer.name, row, bits, scale) for row, scale in enumerate(_texts(layer.tile_adc_V))]
    return csv_text(("layer", "grid_row", "bits", "full_scale_V"), rows)


def _conductances(artifact: Deployment | ProgrammedChip, deployment: Deployment, name: str, path: Path) -> Path:
    target = deployment.layers[name]
    readout, cols = Readout.of(deployment.spec), target.array_shape[2]
    columns = ["chip", "group", "tile", "row", "col", "g_pos_S", "g_neg_S"]
    if isinstance(artifact, ProgrammedChip):
        layer = artifact.layers[name]
        logged = [of for of in (layer.pos_pulses, layer.neg_pulses) if of is not None]
        arrays = [layer.g_pos_S, readout.for_each_weight(layer.g_neg_S, cols)]
        for log in logged:
            parts = [getattr(log, part) for part in PulseColumns.NAMES]
            arrays += parts if log is layer.pos_pulses else [readout.for_each_weight(part, cols) for part in parts]
        columns += [f"{part}_{sign}" for sign, _ in zip(("pos", "neg"), logged, strict=False) for part in _LOG]
        chips = [(str(seed), [array[k] for array in arrays]) for k, seed in enumerate(artifact.seeds)]
    else:
        columns += ["tolerance_pos_S", "tolerance_neg_S"]
        pair = target.g_pos_S, readout.for_each_weight(target.g_neg_S, cols)
        chips = [("target", [*pair, *(_spread(g_S, deployment) for g_S in pair)])]
        if deployment.spec.programming.aim != "target":
            columns += ["aim_pos_S", "aim_neg_S"]
            chips[0][1].extend(aim_S(g_S, deployment.spec.programming) for g_S in pair)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(csv_text(columns, ()))
        for chip, arrays in chips:
            for tile in deployment.tiles(name):
                file.writelines(_cells(chip, tile, arrays))
    return path


def _cells(chip: str, tile: Tile, arrays: list[Tensor]) -> list[str]:
    """The lines of a tile: numbers and its name, none of which needs quotes, put together in a third less time."""
    parts = [array[tile.index] for array in arrays]
    n_cols = parts[0].shape[1]
    values = zip(*(_texts(part) for part in parts), strict=True)
    start = f"{chip},{tile.group},tile{tile.grid_row}_{tile.grid_col}"
    return [f"{start},{cell // n_cols},{cell % n_cols},{','.join(cells)}\n" for cell, cells in enumerate(values)]


def _texts(values: Tensor) -> list[str]:
    """The shortest text that reads back as the same number of the tensor's own type."""
    if values.dtype == torch.bfloat16:  # of which numpy knows nothing; each is a float32 too
        values = values.float()
    texts: list[str] = values.reshape(-1).numpy().astype(str).tolist()
    return texts


def _spread(g_S: Tensor, deployment: Deployment) -> Tensor:
    return torch.as_tensor(
        sigma_S(g_S, deployment.spec.device, deployment.spec.programming), dtype=g_S.dtype
    ).expand_as(g_S)
