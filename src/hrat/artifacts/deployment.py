"""Deployment: all that a lab needs to build and program the chip, and nothing of how it was trained."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hrat.artifacts.decode import decoded
from hrat.artifacts.deployment_check import (
    LAYER_ARRAYS,
    DeploymentData,
    check_deployment,
    check_keys,
    check_tile_adcs,
    layer_arrays,
)
from hrat.artifacts.storage import read_artifact, write_artifact
from hrat.circuit import Node, decode_node, encode_node
from hrat.encoding import Geometry, Tile, tile_grid
from hrat.errors import ArtifactError
from hrat.physics import converter_step_V
from hrat.spec import HardwareSpec

__all__ = ["DeployedLayer", "Deployment"]


@dataclass(frozen=True, kw_only=True)
class DeployedLayer:
    """Targets of one layer for the hardware."""

    name: str
    geometry: Geometry
    g_pos_S: Tensor
    """Target conductances of the positive partners as they lie on the array, `(groups, word lines, bit lines)`, S."""
    g_neg_S: Tensor
    """Target conductances of the negative partners, `(groups, word lines, bit lines)`, S; where weights share them,
    with as many columns as `Readout.count_negatives` says."""
    r_f_ohm: float
    """Feedback resistance of the layer's transimpedance amplifiers."""
    bias_V: Tensor | None
    """Bias of each output, `(out,)`, V, as the DAC yields it; None without bias."""
    bias_codes: Tensor | None
    """Codes of the bias DAC, `(out,)`, int32; None without a bias, with that restriction off, or of a digital bias."""
    bias_full_scale_V: float | None = None
    """Full scale of the layer's bias DACs, V; None: the spec's `v_bias_V`."""
    row_inputs: Tensor | None = None
    """The input that each word line carries, `(groups, word lines)`, int64; an input with several word lines has as
    many devices for each weight, whose currents add. None: word line k carries input k."""
    col_outputs: Tensor | None = None
    """The output that each bit line yields, `(groups, bit lines)`, int64. None: bit line j yields output j."""
    tile_adc_V: Tensor | None = None
    """Full scale of the ADCs of each tile's partial sums, `(tiles in a column,)`, V: what leaves the layer is their
    digital sum with the bias. None where the tiles' currents are summed."""
    wanted_S: Tensor | None = None
    """`G+ - G-` that the network wants of a weight's pair, `(groups, rows, cols)` in the order of inputs and outputs,
    S, where the targets differ from it so as to make up for a chip's own faults. None: what the targets say."""

    @property
    def array_shape(self) -> tuple[int, int, int]:
        """`(groups, word lines, bit lines)`, a line of a pair counted once."""
        groups, rows, cols = self.g_pos_S.shape
        return groups, rows, cols

    @property
    def n_devices(self) -> int:
        """Memristors of the layer."""
        return self.g_pos_S.numel() + self.g_neg_S.numel()

    @property
    def copies(self) -> int:
        """Pairs for each weight, in parallel."""
        return int(self.g_pos_S.shape[1] // self.geometry.matrix_shape[1])

    def collected(self, x: Tensor) -> Tensor:
        """Sum over the devices of each weight: `(..., groups, word lines, bit lines)` -> `(..., groups, rows, cols)`.

        In the order of inputs and outputs, as `Geometry.from_matrix` takes it.
        """
        if self.row_inputs is not None:
            rows = self.geometry.matrix_shape[1]
            index = self.row_inputs.to(x.device).unsqueeze(-1).expand(x.shape)
            x = x.new_zeros(*x.shape[:-2], rows, x.shape[-1]).scatter_add_(-2, index, x)
        if self.col_outputs is not None:
            index = self.col_outputs.argsort(-1).to(x.device).unsqueeze(-2).expand(x.shape)
            x = x.gather(-1, index)
        return x

    @property
    def input_order(self) -> Tensor:
        """The input of each word line, `(groups, word lines)`, where lines are in their own order too."""
        groups, lines, _ = self.array_shape
        return torch.arange(lines).expand(groups, -1) if self.row_inputs is None else self.row_inputs

    @property
    def output_order(self) -> Tensor:
        """The output of each bit line, `(groups, bit lines)`."""
        groups, _, lines = self.array_shape
        return torch.arange(lines).expand(groups, -1) if self.col_outputs is None else self.col_outputs

    def spread(self, x: Tensor) -> Tensor:
        """A value for each weight to all of its devices: `(..., groups, rows, cols)` -> as they lie on the array."""
        if self.row_inputs is not None:
            index = self.row_inputs.to(x.device).unsqueeze(-1)
            x = x.gather(-2, index.expand(*x.shape[:-2], index.shape[-2], x.shape[-1]))
        if self.col_outputs is not None:
            x = x.gather(-1, self.col_outputs.to(x.device).unsqueeze(-2).expand(x.shape))
        return x

    def weight(self, g_pos_S: Tensor, g_neg_S: Tensor) -> Tensor:
        """The gain `R_f sum(G+ - G-)` of conductances on the array, in the layout of a PyTorch weight."""
        return self.geometry.from_matrix(self.r_f_ohm * self.collected(g_pos_S - g_neg_S))


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Target conductances on tiles, feedback resistances, DAC codes, and the graph of operations."""

    spec: HardwareSpec
    layers: dict[str, DeployedLayer]
    graph: tuple[Node, ...]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    """Scales of converters and of output rescaling, and constants of digital operations, by the graph's keys."""
    fixed: dict[str, bool | str | None] = field(default_factory=dict)
    """Arguments that are part of the network, such as switches, with the values that it was prepared with."""
    positional: tuple[str, ...] = ()
    """Names of the arguments that a call may give by position, in order; those of the inputs where it is empty."""
    number_type: str = ""
    """Type of digital values, `float16` or `bfloat16`; empty where it is that of the conductances."""

    KIND = "deployment"

    @property
    def digital_type(self) -> torch.dtype:
        """Number type in which the network computes digitally."""
        if self.number_type:
            kind: torch.dtype = getattr(torch, self.number_type)
            return kind
        return next(iter(self.layers.values())).g_pos_S.dtype

    @property
    def n_devices(self) -> int:
        """Memristors of the chip."""
        return sum(layer.n_devices for layer in self.layers.values())

    def tiles(self, layer: str) -> list[Tile]:
        """The arrays that hold a layer; `layer.g_pos_S[tile.index]` is what one of them holds."""
        return tile_grid(self.layers[layer].array_shape, self.spec.array)

    @property
    def n_tiles(self) -> int:
        """Arrays of the chip."""
        return sum(len(self.tiles(name)) for name in self.layers)

    def with_array(self, **fields: Any) -> Deployment:
        """The deployment's targets for other arrays, such as `with_array(limit_wires=True, r_word_ohm=0.5)`.

        Args:
            fields: fields of `hrat.Array`, by name. A switch that is not among them stays as it is.

        Raises:
            SpecError: an unknown field, or a value out of range.
            ArtifactError: other tiles than those whose ADCs training knew (`periphery.partial_sums`).
        """
        spec = self.spec.replace({f"array.{name}": value for name, value in fields.items()})
        changed = replace(self, spec=spec)
        for layer in self.layers.values():
            check_tile_adcs(layer, spec)
        return changed

    def is_same_as(self, other: Deployment) -> bool:
        """Whether both ask the same of the hardware, to the last bit."""
        if self is other:
            return True
        (content, tensors), (others, other_tensors) = self.to_parts(), other.to_parts()
        return (
            content == others
            and tensors.keys() == other_tensors.keys()
            and all(torch.equal(value, other_tensors[key]) for key, value in tensors.items())
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one file, whole or not at all.

        Raises:
            OSError: the folder cannot be written or the disk is full.
        """
        return write_artifact(path, self.KIND, *self.to_parts())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Deployment:
        """Read a file that `save` wrote.

        Raises:
            FileNotFoundError: nothing stands at `path`.
            ArtifactError: the file is damaged, foreign, or of another version.
        """
        return cls.from_parts(*read_artifact(path, cls.KIND))

    def to_parts(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """JSON data and arrays."""
        tensors = {f"graph/{key}": value for key, value in self.tensors.items()}
        layers = []
        for layer in self.layers.values():
            own = {"name": layer.name, "geometry": layer.geometry.to_dict(), "r_f_ohm": layer.r_f_ohm}
            if layer.bias_full_scale_V is not None:
                own["bias_full_scale_V"] = layer.bias_full_scale_V
            layers.append(own)
            for key in LAYER_ARRAYS:
                value = getattr(layer, key)
                if value is not None:
                    tensors[f"layer/{layer.name}/{key}"] = value
        content = {
            "spec": self.spec.to_dict(),
            "layers": layers,
            "graph": [encode_node(node) for node in self.graph],
        }
        if self.fixed:
            content["fixed"] = self.fixed
        if self.positional:
            content["positional"] = list(self.positional)
        if self.number_type:
            content["number_type"] = self.number_type
        return content, tensors

    @classmethod
    def from_parts(cls, content: dict[str, Any], tensors: dict[str, Tensor]) -> Deployment:
        """The inverse of `to_parts`.

        Raises:
            ArtifactError: something that the content names is missing or does not fit.
        """
        data = decoded(DeploymentData, content, "the file lacks or garbles parts of a deployment")
        layers: dict[str, DeployedLayer] = {}
        for layer in data.layers:
            if layer.name in layers:
                raise ArtifactError(f"two layers are named '{layer.name}'; expected each name once")
            arrays = layer_arrays(layer.name, tensors)
            layers[layer.name] = DeployedLayer(
                name=layer.name,
                geometry=layer.shape(),
                r_f_ohm=float(layer.r_f_ohm),
                bias_full_scale_V=layer.bias_full_scale_V,
                **arrays,
            )
        deployment = cls(
            spec=HardwareSpec.from_dict(data.spec),
            layers=layers,
            graph=tuple(decode_node(node.name, node.op, node.args, node.kwargs) for node in data.graph),
            fixed=dict(data.fixed),
            positional=data.positional,
            number_type=data.number_type,
            tensors={key.removeprefix("graph/"): value for key, value in tensors.items() if key.startswith("graph/")},
        )
        check_keys(tensors, layers)
        check_deployment(deployment)
        return deployment

    def bias_step_V(self, layer: str | None = None) -> float | None:
        """Size of one step of the bias DACs, V; of a layer, where these have full scales of their own."""
        periphery = self.spec.periphery
        if not periphery.limit_bias_dac or periphery.bias_dac_bits is None:
            return None
        own_V = None if layer is None else self.layers[layer].bias_full_scale_V
        return float(converter_step_V(periphery.bias_dac_bits, periphery.v_bias_V if own_V is None else own_V))

    def __str__(self) -> str:
        """A table of the layers."""
        lines = [
            f"Deployment for '{self.spec.name}': {len(self.layers)} layers, {self.n_tiles} tiles of "
            f"{self.spec.array.rows}x{self.spec.array.cols}, {self.n_devices:,} memristors",
            f"  {'layer':<16} {'rows x cols':>13} {'groups':>6} {'tiles':>5} {'R_f':>12} {'bias codes':>10}",
        ]
        for layer in self.layers.values():
            groups, rows, cols = layer.array_shape
            codes = "-" if layer.bias_codes is None else str(layer.bias_codes.numel())
            lines.append(
                f"  {layer.name:<16} {f'{rows} x {cols}':>13} {groups:>6} {len(self.tiles(layer.name)):>5} "
                f"{layer.r_f_ohm:>8.4g} ohm {codes:>10}"
            )
        return "\n".join(lines)

    __repr__ = __str__
