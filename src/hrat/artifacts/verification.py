"""Verification: one chip at several depths of simulation, and the differences between them."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from hrat.artifacts.decode import STRICT, Count, Part, Positive, load_json
from hrat.files import write_atomic

__all__ = ["Depth", "LayerDifference", "Verification", "volts"]


@dataclass(frozen=True, kw_only=True)
class LayerDifference:
    """Difference of a layer's amplifier outputs from those at other depths, over all images and outputs."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    layer: str
    signal_rms_V: Positive
    """Root mean square of the outputs at the first depth."""
    largest_V: Positive
    """Largest difference from the first depth."""
    rms_V: Positive
    """Root mean square difference from the first depth."""
    step_largest_V: Positive
    """Largest difference from the depth before this one."""
    step_rms_V: Positive
    """Root mean square difference from the depth before this one."""
    limited_share: Part
    """Share of outputs that stand at a limit of their amplifier at this depth or at the one before."""
    step_limited_V: Positive
    """Largest difference from the depth before among these."""


@dataclass(frozen=True, kw_only=True)
class Depth:
    """Result of one depth of simulation."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    adds: str
    """The effect that it adds to the depth before, the cause of the difference between them."""
    accuracy: Part | None
    """Share of images classified right; None without labels."""
    agreement: Part | None
    """Share of images with the class of the first depth; None where the network yields no classes."""
    seconds: Positive
    layers: tuple[LayerDifference, ...] = ()
    """Empty for the first depth, and where it failed."""
    failure: str | None = None


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Results of one chip for the same images, at one depth after another."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    chip_seed: Count
    n_images: Count
    spec: str
    """Name of the hardware."""
    depths: Annotated[tuple[Depth, ...], Field(min_length=1)]

    @property
    def failures(self) -> dict[str, str]:
        """Why a depth has no result, by its name."""
        return {depth.name: depth.failure for depth in self.depths if depth.failure is not None}

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON data."""
        return asdict(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the figures as JSON, whole or not at all."""
        return write_atomic(path, json.dumps(self.to_dict(), indent=2) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Verification:
        """Read a file that `save` wrote.

        Raises:
            ArtifactError: the file is damaged or foreign.
        """
        return load_json(cls, path, "verification")

    def sentences(self) -> list[str]:
        """Causes of the differences, in words: one sentence for each step, and for each kind of failure."""
        sentences = []
        before = self.depths[0]
        for depth in self.depths[1:]:
            if depth.failure is not None:
                continue
            worst = max(depth.layers, key=lambda layer: layer.step_largest_V, default=None)
            if worst is not None:
                sentences.append(_step(before, depth, worst))
            before = depth
        for why in dict.fromkeys(self.failures.values()):
            named = [name for name, failure in self.failures.items() if failure == why]
            sentences.append(f"{' / '.join(named)} failed: {why}")
        return sentences

    def __str__(self) -> str:
        """A line for each depth."""
        lines = [f"chip {self.chip_seed} of '{self.spec}', {self.n_images:,} images"]
        for depth in self.depths:
            shares = [
                f"{what} {share:.2%}"
                for what, share in (("accuracy", depth.accuracy), ("same class", depth.agreement))
                if share is not None
            ]
            words = [depth.failure] if depth.failure else [*shares, f"{depth.seconds:.1f} s"]
            lines.append(f"  {depth.name:<26} {', '.join(words)}")
        return "\n".join(lines)

    __repr__ = __str__


def volts(value_V: float) -> str:
    """0.00052 -> `520 uV`; two digits."""
    units = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "nV": 1e-9, "pV": 1e-12}
    unit = next((unit for unit, size_V in units.items() if abs(value_V) >= size_V), None)
    return "less than 1 pV" if unit is None else f"{float(f'{value_V:.2g}') / units[unit]:.3g} {unit}"


def _step(before: Depth, depth: Depth, worst: LayerDifference) -> str:
    text = (
        f"{depth.name} adds {depth.adds}: at most {volts(worst.step_largest_V)} from {before.name}, in layer "
        f"{worst.layer} ({volts(worst.signal_rms_V)} rms)"
    )
    if worst.limited_share > 0 and worst.step_limited_V >= worst.step_largest_V:
        text += f", where an amplifier reaches its limit ({worst.limited_share:.1%} of that layer's outputs do)"
    return text
