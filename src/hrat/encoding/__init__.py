"""Weight <-> conductance, and matrix <-> tiles: the only door between the two worlds."""

from __future__ import annotations

from hrat.encoding.amplifier_errors import (
    LayerAmplifiers,
    LayerErrors,
    draw_layer_amplifiers,
    errors_of_layer,
)
from hrat.encoding.geometry import Geometry
from hrat.encoding.layer_readout import LayerReadout
from hrat.encoding.pairs import encode_pair, has_window, quantise_fraction, quantise_fraction_, state_steps
from hrat.encoding.readouts import Readout, refuse_shared_negatives
from hrat.encoding.row_tiles import RowTiles
from hrat.encoding.tiles import Tile, tile_grid
from hrat.encoding.wires import Effective, effective_pair

__all__ = [
    "Effective",
    "Geometry",
    "LayerAmplifiers",
    "LayerErrors",
    "LayerReadout",
    "Readout",
    "RowTiles",
    "Tile",
    "draw_layer_amplifiers",
    "effective_pair",
    "encode_pair",
    "errors_of_layer",
    "has_window",
    "quantise_fraction",
    "quantise_fraction_",
    "refuse_shared_negatives",
    "state_steps",
    "tile_grid",
]
