"""The whole hardware spec: its sections together, its restriction switches, and changes to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import model_validator

from hrat.errors import SpecError
from hrat.files import write_atomic
from hrat.spec.assignment import nest
from hrat.spec.base import Part, did_you_mean
from hrat.spec.checks import check_pulses, check_reference, check_sigma, check_sources, check_words, odd_settings
from hrat.spec.costs import Costs
from hrat.spec.lifetime import Faults, Retention
from hrat.spec.programming import Programming
from hrat.spec.pulses import JumpTable, LinearStep, Pulses, SoftBounds, StanfordPku, Vteam
from hrat.spec.restrictions import RESTRICTIONS
from hrat.spec.sections import SECTIONS, Array, Device, Periphery
from hrat.spec.toml import dump_toml

__all__ = ["HardwareSpec", "merged"]


class HardwareSpec(Part):
    """Specification of the hardware, checked as a whole. It never changes: every change returns a new spec.

    Raises:
        SpecError: a value out of range, an unknown key, or values that contradict each other.
    """

    name: str = "custom"
    """Short name of the hardware."""
    description: str = ""
    """One or two sentences on the hardware."""
    device: Device = Device()
    """The memristor."""
    pulses: Pulses = Pulses()
    """The programming pulses, and which model says what they do."""
    soft_bounds: SoftBounds = SoftBounds()
    """A pulse model: steps that shrink towards the end of the window."""
    linear_step: LinearStep = LinearStep()
    """A pulse model: equal steps."""
    jump_table: JumpTable = JumpTable()
    """A pulse model: measured changes."""
    vteam: Vteam = Vteam()
    """A pulse model: threshold and speed."""
    stanford_pku: StanfordPku = StanfordPku()
    """A pulse model: a filament with a gap."""
    retention: Retention = Retention()
    """Relaxation and drift of conductances after programming."""
    faults: Faults = Faults()
    """Stuck devices, and devices that reach a part of the window only."""
    array: Array = Array()
    """One crossbar tile."""
    periphery: Periphery = Periphery()
    """Amplifiers and converters around the array."""
    programming: Programming = Programming()
    """How a device is programmed, and how near to its target its conductance ends."""
    costs: Costs = Costs()
    """Time, power and area of the circuit's parts; acts on estimates only."""
    sources: dict[str, str] = {}  # noqa: RUF012 - pydantic copies it
    """Where each number comes from: 'section.field' -> source."""

    def __hash__(self) -> int:
        """Hash of all fields but `sources`, a dict that acts on nothing."""
        return hash((self.name, *(getattr(self, section) for section in SECTIONS)))

    @model_validator(mode="after")
    def _check(self) -> HardwareSpec:
        check_words(self)
        check_sigma(self.device, self.programming)
        check_reference(self.device, self.periphery)
        check_pulses(self)
        check_sources(self.sources)
        return self

    def warnings(self) -> list[str]:
        """Settings that are legal but probably not meant, one sentence each; empty where nothing is odd."""
        return odd_settings(self)

    def restrictions(self) -> dict[str, bool]:
        """Every restriction by its short name, and whether it is on."""
        return {name: restriction.is_on(self) for name, restriction in RESTRICTIONS.items()}

    def without(self, *names: str) -> HardwareSpec:
        """This hardware with the named restrictions off.

        Raises:
            SpecError: a name that is not in `RESTRICTIONS`.
        """
        for name in names:
            if name not in RESTRICTIONS:
                hint = did_you_mean(name, RESTRICTIONS)
                raise SpecError(f"there is no restriction {name!r}{hint}; known ones: {', '.join(RESTRICTIONS)}")
        return self.replace({RESTRICTIONS[name].path: False for name in names})

    def only(self, *names: str) -> HardwareSpec:
        """This hardware with all restrictions off but the named ones; a named one that is off stays off.

        Raises:
            SpecError: a name that is not in `RESTRICTIONS`.
        """
        self.without(*names)  # refuses unknown names
        return self.without(*(name for name in RESTRICTIONS if name not in names))

    def ideal(self) -> HardwareSpec:
        """This hardware with all restrictions off."""
        return self.only()

    def replace(self, overrides: Mapping[str, Any] | None = None, /, **fields: Any) -> HardwareSpec:
        """This hardware with other values, checked again.

        A field is named by itself where only one section has it (`weight_bits=4`; `name` is the spec's own), or as
        `{"device.weight_bits": 4}`; a whole section by its name. Of two ways to say the same thing (`weight_bits` and
        `levels_S`; `sigma_rel` and `sigma_poly_S`) the given one replaces the other. Switches stay as they are: a
        number whose restriction is off has no effect before it is switched on. The source of a changed number becomes
        "overridden", unless `sources` gives a new one.

        Raises:
            SpecError: an unknown or twice given field, or values that do not fit together.
        """
        return merged(self, nest([*(overrides or {}).items(), *fields.items()]))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> HardwareSpec:
        """Make one from plain data: the inverse of `to_dict`; what is missing takes its default.

        Raises:
            SpecError: see `HardwareSpec`.
        """
        if not isinstance(data, Mapping):
            raise SpecError(f"expected a table of sections, got {data!r}")
        return cls(**data)

    def to_toml(self) -> str:
        """The spec as TOML text, from which `spec_from_toml` makes an equal spec."""
        return dump_toml(self.to_dict())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the spec to a TOML file, whole or not at all, and return its path.

        Raises:
            OSError: the folder cannot be written, or the disk is full.
        """
        return write_atomic(path, self.to_toml())


def merged(spec: HardwareSpec, changes: Mapping[str, Any]) -> HardwareSpec:
    """The spec with the values of a nested table (section -> field -> value) in place of its own."""
    values: dict[str, Any] = spec.model_dump()
    for key, change in changes.items():
        if key in SECTIONS and isinstance(change, Mapping):
            values[key] = {**values[key], **SECTIONS[key].with_cleared(change)}
        elif key == "sources" and isinstance(change, Mapping):
            values[key] = {**values[key], **change}
        else:
            values[key] = change
    changed = HardwareSpec(**values)
    fresh = changes.get("sources", {})
    stale = [key for key in spec.sources if key not in fresh and _value(spec, key) != _value(changed, key)]
    if not stale:
        return changed
    # A source must not stand beside a number that it does not give.
    kept = {key: source for key, source in changed.sources.items() if key not in stale}
    overridden = {key: "overridden" for key in stale if _value(changed, key) is not None}
    return HardwareSpec(**{**values, "sources": {**kept, **overridden}})


def _value(spec: HardwareSpec, key: str) -> Any:
    section, field = key.split(".")
    return getattr(getattr(spec, section), field)
