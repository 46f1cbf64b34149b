"""What a chip would take: energy, time and area, with every assumption that the figures rest on."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from hrat.errors import ArtifactError, SeedError
from hrat.files import write_atomic
from hrat.seeds import check_seed

__all__ = ["Assumption", "Estimate", "LayerEstimate"]


@dataclass(frozen=True, kw_only=True)
class LayerEstimate:
    """One layer, for one input of the network."""

    name: str
    products: float
    """Matrix-vector products, one after another."""
    mvm_s: float
    """Time of each."""
    macs: float
    """Multiplications of a weight."""
    devices_J: float
    """`v^2 G t` of the devices."""
    drive_J: float
    """What the output stages of the drivers lose of the supply, `|v| (V_s - |v|) G t`."""
    amplifiers_J: float
    """Amplifiers at rest, and the inverters of a dual-rail read-out."""
    dac_J: float
    adc_J: float
    n_devices: int
    n_amplifiers: int
    n_dacs: int
    """Of inputs and biases."""
    n_adcs: int
    area_m2: float

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

    what: str
    value: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Energy, time and area of one chip for one input."""

    spec: str
    chip_seed: int
    n_images: int
    """Inputs that the voltages were averaged over."""
    layers: tuple[LayerEstimate, ...]
    assumptions: tuple[Assumption, ...]

    @property
    def energy_J(self) -> float:
        """For one input, all layers and converters."""
        return sum(layer.energy_J for layer in self.layers)

    @property
    def latency_s(self) -> float:
        """Of one input, the layers one after another."""
        return sum(layer.latency_s for layer in self.layers)

    @property
    def interval_s(self) -> float:
        """Between two inputs where all layers work at the same time: the slowest layer's time."""
        return max((layer.latency_s for layer in self.layers), default=0.0)

    @property
    def area_m2(self) -> float:
        """Devices, amplifiers and converters."""
        return sum(layer.area_m2 for layer in self.layers)

    @property
    def ops_per_J(self) -> float:
        """Operations for each joule, a multiplication and an addition counted as two."""
        return 2 * sum(layer.macs for layer in self.layers) / self.energy_J if self.energy_J else float("inf")

    def parts_J(self) -> dict[str, float]:
        """Energy of one input by what takes it."""
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
        text = io.StringIO()
        writer = csv.writer(text)
        names = [*(field.name for field in fields(LayerEstimate)), "energy_J", "latency_s"]
        writer.writerow(names)
        writer.writerows([getattr(layer, name) for name in names] for layer in self.layers)
        return write_atomic(path, text.getvalue())

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Estimate:
        """The inverse of `to_dict`.

        Raises:
            ArtifactError: something is missing.
        """
        try:
            return cls(
                spec=data["spec"],
                chip_seed=check_seed(data["chip_seed"], "chip_seed"),
                n_images=data["n_images"],
                layers=tuple(LayerEstimate(**layer) for layer in data["layers"]),
                assumptions=tuple(Assumption(**assumption) for assumption in data["assumptions"]),
            )
        except (KeyError, TypeError, SeedError) as error:
            raise ArtifactError(f"not an estimate that hrat wrote: {error}") from error


_TOTALS = ("energy_J", "latency_s", "interval_s", "area_m2", "ops_per_J")
