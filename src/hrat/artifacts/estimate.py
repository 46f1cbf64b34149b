"""Estimate of energy, time and area of a chip, with the assumptions behind the figures."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict

from hrat.artifacts.decode import STRICT, Count, Positive, decoded
from hrat.errors import ArtifactError
from hrat.files import write_atomic
from hrat.tables import csv_text

__all__ = ["Assumption", "Estimate", "LayerEstimate"]


@dataclass(frozen=True, kw_only=True)
class LayerEstimate:
    """One layer, for one input of the network."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    products: Positive
    """Matrix-vector products, one after another."""
    mvm_s: Positive
    """Time of each matrix-vector product, s."""
    macs: Positive
    """Multiplications by a weight, for one input."""
    devices_J: Positive
    """Energy of the devices, `v^2 G t`, J."""
    drive_J: Positive
    """Energy lost in the output stages of the drivers, `|v| (V_s - |v|) G t`, J."""
    amplifiers_J: Positive
    """Energy of amplifiers at rest, and of the inverters of a dual-rail read-out, J."""
    dac_J: Positive
    adc_J: Positive
    n_devices: Count
    n_amplifiers: Count
    n_dacs: Count
    """Number of DACs, of inputs and biases."""
    n_adcs: Count
    area_m2: Positive

    @property
    def energy_J(self) -> float:
        """All of it."""
        return self.devices_J + self.drive_J + self.amplifiers_J + self.dac_J + self.adc_J

    @property
    def latency_s(self) -> float:
        """Time that the layer takes for one input."""
        return self.products * self.mvm_s


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """Something that the figures rest on."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    what: str
    value: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Energy, time and area of one chip for one input."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    spec: str
    chip_seed: Count
    n_images: Count
    """Inputs that the voltages were averaged over."""
    layers: tuple[LayerEstimate, ...]
    assumptions: tuple[Assumption, ...]

    @property
    def energy_J(self) -> float:
        """Energy of one input, all layers and converters, J."""
        return sum(layer.energy_J for layer in self.layers)

    @property
    def latency_s(self) -> float:
        """Latency of one input, the layers one after another, s."""
        return sum(layer.latency_s for layer in self.layers)

    @property
    def interval_s(self) -> float:
        """Time between two inputs where all layers work at the same time: that of the slowest layer, s."""
        return max((layer.latency_s for layer in self.layers), default=0.0)

    @property
    def area_m2(self) -> float:
        """Area of devices, amplifiers and converters, m^2."""
        return sum(layer.area_m2 for layer in self.layers)

    @property
    def ops_per_J(self) -> float:
        """Operations for each joule, a multiplication and an addition counted as two."""
        return 2 * sum(layer.macs for layer in self.layers) / self.energy_J if self.energy_J else float("inf")

    def parts_J(self) -> dict[str, float]:
        """Energy of one input by the kind of part, J."""
        parts = ("devices", "drive", "amplifiers", "dac", "adc")
        return {part: sum(getattr(layer, f"{part}_J") for layer in self.layers) for part in parts}

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON data, the totals too."""
        totals = {name: getattr(self, name) for name in _TOTALS}
        return {**asdict(self), **totals, "parts_J": self.parts_J()}

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write as JSON, whole or not at all."""
        return write_atomic(path, json.dumps(self.to_dict(), indent=1) + "\n")

    def save_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write the layers as a table, whole or not at all."""
        names = [*(field.name for field in fields(LayerEstimate)), "energy_J", "latency_s"]
        return write_atomic(path, csv_text(names, ([getattr(layer, name) for name in names] for layer in self.layers)))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Estimate:
        """Make one from plain data: the inverse of `to_dict`.

        Raises:
            ArtifactError: something is missing.
        """
        if not isinstance(data, dict):
            raise ArtifactError(f"not an estimate that hrat wrote: expected an object, got {type(data).__name__}")
        kept = {key: value for key, value in data.items() if key not in (*_TOTALS, "parts_J")}
        return decoded(cls, kept, "not an estimate that hrat wrote")


_TOTALS = ("energy_J", "latency_s", "interval_s", "area_m2", "ops_per_J")
