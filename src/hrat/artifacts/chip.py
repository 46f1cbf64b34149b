"""ProgrammedChip: the conductances that the devices of one or several chips ended at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import ConfigDict, Field
from torch import Tensor

from hrat.artifacts.decode import STRICT, Count, decoded
from hrat.artifacts.deployment import DeployedLayer, Deployment
from hrat.artifacts.deployment_check import check_conductances
from hrat.artifacts.pulse_log import PulseColumns, PulseTotals, Status
from hrat.artifacts.storage import read_artifact, write_artifact
from hrat.encoding import LayerAmplifiers, LayerReadout, draw_layer_amplifiers
from hrat.errors import ArtifactError, HratError
from hrat.names import check_name
from hrat.seeds import seed_of_place
from hrat.spec import HardwareSpec

__all__ = ["ProgrammedChip", "ProgrammedLayer"]

_DOUBLE = torch.empty(0, dtype=torch.float64)


@dataclass(frozen=True, kw_only=True)
class ProgrammedLayer:
    """Conductances reached, `(chips, *shape)` of the targets, `(chips, groups, word lines, bit lines)`, S."""

    g_pos_S: Tensor
    g_neg_S: Tensor
    pos_pulses: PulseColumns | None = None
    """Log of the pulses, device by device; None where none were applied."""
    neg_pulses: PulseColumns | None = None
    trim_V: Tensor | None = None
    """What the bias DACs of each chip add to the deployment's biases, `(chips, out)`, V, whole steps; None: nothing."""

    def __getitem__(self, some: slice) -> ProgrammedLayer:
        """Some of the chips."""
        pos, neg = self.pos_pulses, self.neg_pulses
        return ProgrammedLayer(
            g_pos_S=self.g_pos_S[some],
            g_neg_S=self.g_neg_S[some],
            pos_pulses=None if pos is None else pos[some],
            neg_pulses=None if neg is None else neg[some],
            trim_V=None if self.trim_V is None else self.trim_V[some],
        )


@dataclass(frozen=True, kw_only=True)
class ProgrammedChip:
    """One or several chips programmed from the same deployment."""

    deployment: Deployment
    layers: dict[str, ProgrammedLayer]
    seeds: tuple[int, ...]
    """The seed of each chip: the same seed makes the same chip, alone or among others."""
    scheme: str
    """Programming scheme of the chips."""

    KIND = "chip"

    @property
    def n_chips(self) -> int:
        """Number of chips."""
        return len(self.seeds)

    def __getitem__(self, index: int | slice) -> ProgrammedChip:
        """One or some of the chips, as a ProgrammedChip whose conductances share the memory of this one's."""
        if isinstance(index, slice):
            some = index
        elif -self.n_chips <= index < self.n_chips:
            some = slice(index % self.n_chips, index % self.n_chips + 1)
        else:
            raise IndexError(f"chip {index} of {self.n_chips}")
        layers = {name: layer[some] for name, layer in self.layers.items()}
        return ProgrammedChip(deployment=self.deployment, layers=layers, seeds=self.seeds[some], scheme=self.scheme)

    def with_array(self, **fields: Any) -> ProgrammedChip:
        """The chip's devices behind other arrays: `chip.with_array(limit_wires=True, r_word_ohm=0.5)`.

        Targets, resistors and DAC codes stay what they are: this shows what wires do to a network that was not trained
        for them. The switch stays as it is too: resistances without `limit_wires=True` do nothing where it is off.

        Args:
            fields: fields of `hrat.Array`, by name.

        Raises:
            SpecError: an unknown field, or a value out of range.
        """
        return replace(self, deployment=self.deployment.with_array(**fields))

    def errors_S(self, layer: str) -> tuple[Tensor, Tensor]:
        """Achieved minus target conductance of the devices `(G+, G-)`, `(chips, *shape)` of their targets, S."""
        programmed, target = self.layers[layer], self.deployment.layers[layer]
        return programmed.g_pos_S - target.g_pos_S, programmed.g_neg_S - target.g_neg_S

    def amplifiers(self, layer: str, index: int = 0) -> LayerAmplifiers:
        """Offsets and feedback resistors of a layer's amplifiers on one chip; empty where amplifiers have no errors.

        They are a property of the chip, drawn by its seed: other targets, another programming and ageing leave them as
        they are.

        Args:
            layer: name of the layer.
            index: which chip.

        Returns:
            For each term of the read-out (`hrat.encoding.Readout.terms`) tensors `(sums, outputs)`, float64.
        """
        target, seed = self.deployment.layers[layer], self.seeds[index]
        readout = LayerReadout.of(target.geometry, self.deployment.spec)

        def generator(term: int) -> torch.Generator:
            return torch.Generator().manual_seed(seed_of_place(seed, f"{layer}/amplifiers {term}"))

        return draw_layer_amplifiers(readout, self.deployment.spec, _DOUBLE, generator=generator)

    def bias_V(self, layer: str, index: int = 0) -> Tensor | None:
        """Biases of a layer on one chip, as its DACs yield them, `(out,)`, V; None without bias."""
        bias_V, trim_V = self.deployment.layers[layer].bias_V, self.layers[layer].trim_V
        return bias_V if bias_V is None or trim_V is None else bias_V + trim_V[index]

    def rms_error_S(self, layer: str) -> float:
        """Root mean square of achieved minus target conductance, over all devices of a layer and all chips, S."""
        error_S = torch.cat([part.flatten() for part in self.errors_S(layer)])
        return float(error_S.double().square().mean().sqrt())

    @property
    def has_pulses(self) -> bool:
        """Whether the chips were programmed pulse by pulse, so that there is a log of it."""
        return all(layer.pos_pulses is not None for layer in self.layers.values())

    def pulse_totals(self, layer: str | None = None) -> PulseTotals:
        """Pulses, energy, time and failures over all chips, of one layer or of all.

        Raises:
            HratError: no pulses were applied.
        """
        names = list(self.layers) if layer is None else [layer]
        columns = [part for name in names for part in _both(self.layers[name]) if part is not None]
        if len(columns) < 2 * len(names):
            raise HratError(
                f"these chips were programmed by '{self.scheme}', without pulses; expected "
                "hrat.program(deployment, scheme='write_verify')"
            )
        return _totals(columns, self.deployment.spec)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one file, the deployment with it, whole or not at all.

        Raises:
            OSError: the folder cannot be written or the disk is full.
        """
        content, tensors = self.deployment.to_parts()
        for name, layer in self.layers.items():
            tensors[f"chip/{name}/g_pos_S"] = layer.g_pos_S
            tensors[f"chip/{name}/g_neg_S"] = layer.g_neg_S
            if layer.trim_V is not None:
                tensors[f"chip/{name}/trim_V"] = layer.trim_V
            for sign, columns in zip(("pos", "neg"), _both(layer), strict=True):
                for column in PulseColumns.NAMES if columns is not None else ():
                    tensors[f"chip/{name}/{sign}/{column}"] = getattr(columns, column)
        content = {"deployment": content, "seeds": list(self.seeds), "scheme": self.scheme}
        return write_artifact(path, self.KIND, content, tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ProgrammedChip:
        """Read a file that `save` wrote.

        Raises:
            FileNotFoundError: nothing stands at `path`.
            ArtifactError: the file is damaged, foreign, or of another version.
        """
        content, tensors = read_artifact(path, cls.KIND)
        return cls._from_parts(content, tensors)

    @classmethod
    def _from_parts(cls, content: dict[str, Any], tensors: dict[str, Tensor]) -> ProgrammedChip:
        data = decoded(_ChipData, content, "the file lacks or garbles parts of programmed chips")
        check_name(data.scheme, "a programming scheme", error=ArtifactError)
        deployment = Deployment.from_parts(
            data.deployment, {key: value for key, value in tensors.items() if not key.startswith("chip/")}
        )
        layers = {
            name: _layer(tensors, name, target, len(data.seeds), deployment.spec)
            for name, target in deployment.layers.items()
        }
        expected_keys = {f"chip/{name}/{key}" for name in layers for key in _KEYS}
        stray = sorted(key for key in tensors if key.startswith("chip/") and key not in expected_keys)
        if stray:
            raise ArtifactError(f"the file holds {stray[0]!r:.200}, which belongs to no layer of it")
        return cls(deployment=deployment, layers=layers, seeds=data.seeds, scheme=data.scheme)

    def __str__(self) -> str:
        """Table of the programming errors by layer."""
        lines = [f"{self.n_chips} chip(s), {_seed_text(self.seeds)}, programmed by '{self.scheme}'"]
        lines.append(f"  {'layer':<16} {'devices':>10} {'rms error':>12} {'of the window':>13}")
        for name in self.layers:
            error = torch.cat([part.flatten() for part in self.errors_S(name)]).double()
            rms_S = float(error.square().mean().sqrt())
            share = rms_S / self.deployment.spec.device.g_range_S
            lines.append(f"  {name:<16} {error.numel() // self.n_chips:>10,} {rms_S * 1e6:>9.3f} uS {share:>12.2%}")
        if self.has_pulses:
            lines.append(f"  {self.pulse_totals()}")
        return "\n".join(lines)

    __repr__ = __str__


def _both(layer: ProgrammedLayer) -> tuple[PulseColumns | None, PulseColumns | None]:
    return layer.pos_pulses, layer.neg_pulses


@dataclass(frozen=True, kw_only=True)
class _ChipData:
    """Programmed chips as JSON, without their arrays."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    deployment: dict[str, Any]
    seeds: Annotated[tuple[Count, ...], Field(min_length=1)]
    scheme: str


_KEYS = (
    "g_pos_S",
    "g_neg_S",
    "trim_V",
    *(f"{sign}/{column}" for sign in ("pos", "neg") for column in PulseColumns.NAMES),
)
"""Arrays that a layer may have in a file."""


def _layer(
    tensors: dict[str, Tensor], name: str, target: DeployedLayer, seeds: int, spec: HardwareSpec
) -> ProgrammedLayer:
    """What a file says of a layer's devices, `(chips, groups, word lines, bit lines)`, checked."""
    shapes = (seeds, *target.g_pos_S.shape), (seeds, *target.g_neg_S.shape)
    for key, shape in zip(("g_pos_S", "g_neg_S"), shapes, strict=True):
        if f"chip/{name}/{key}" not in tensors:
            raise ArtifactError(f"the file lacks 'chip/{name}/{key}'; expected what ProgrammedChip.save writes")
        check_conductances(tensors[f"chip/{name}/{key}"], shape, f"layer '{name}', as programmed: {key}", spec)
    layer = ProgrammedLayer(
        g_pos_S=tensors[f"chip/{name}/g_pos_S"],
        g_neg_S=tensors[f"chip/{name}/g_neg_S"],
        trim_V=_trim(tensors.get(f"chip/{name}/trim_V"), target, seeds),
        pos_pulses=_columns(tensors, f"chip/{name}/pos"),
        neg_pulses=_columns(tensors, f"chip/{name}/neg"),
    )
    for columns, shape in zip(_both(layer), shapes, strict=True):
        if columns is not None:
            columns.check(shape, f"layer '{name}'")
    return layer


def _trim(trim_V: Tensor | None, target: DeployedLayer, chips: int) -> Tensor | None:
    if trim_V is None:
        return None
    shape = (chips, target.geometry.out_channels)
    if target.bias_V is None or tuple(trim_V.shape) != shape or not bool(trim_V.isfinite().all()):
        raise ArtifactError(
            f"layer '{target.name}': trim_V has shape {tuple(trim_V.shape)}, or values that are not finite; expected "
            f"finite voltages of shape {shape} of a layer with a bias"
        )
    return trim_V


def _columns(tensors: dict[str, Tensor], place: str) -> PulseColumns | None:
    missing = [column for column in PulseColumns.NAMES if f"{place}/{column}" not in tensors]
    if len(missing) == len(PulseColumns.NAMES):
        return None
    if missing:
        raise ArtifactError(f"the file lacks '{place}/{missing[0]}'; expected all of {', '.join(PulseColumns.NAMES)}")
    return PulseColumns(**{column: tensors[f"{place}/{column}"] for column in PulseColumns.NAMES})


def _totals(columns: list[PulseColumns], spec: HardwareSpec) -> PulseTotals:
    pulses, programming = spec.pulses, spec.programming
    devices = sum(part.status.numel() for part in columns)
    set_pulses = sum(int(part.set_pulses.sum(dtype=torch.int64)) for part in columns)
    reset_pulses = sum(int(part.reset_pulses.sum(dtype=torch.int64)) for part in columns)

    def count(status: Status) -> int:
        return sum(int((part.status == status).count_nonzero()) for part in columns)

    # A device is read before each pulse, and once more at the end of each pass.
    read = devices - count(Status.NOT_READ)
    readings = (set_pulses + reset_pulses + read * programming.passes) * programming.reads_per_verify if read else 0
    return PulseTotals(
        devices=devices,
        set_pulses=set_pulses,
        reset_pulses=reset_pulses,
        most_pulses=max(int(part.pulses.max()) for part in columns),
        readings=readings,
        energy_J=sum(float(part.energy_J.sum(dtype=torch.float64)) for part in columns),
        time_s=set_pulses * pulses.set_width_s + reset_pulses * pulses.reset_width_s + readings * programming.read_s,
        accepted=count(Status.ACCEPTED),
        budget_spent=count(Status.BUDGET_SPENT),
        stuck=count(Status.STUCK),
    )


def _seed_text(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]}..{seeds[-1]}"
