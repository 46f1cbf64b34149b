"""Specs from presets, TOML text and TOML files.

A file may be partial: what it leaves out takes the defaults of the sections (those of the preset `generic-4bit`), or,
where the file says `base = "name"` at its top, the values of that preset.

Some presets are of a part of the hardware, such as a certain amplifier: `generic-4bit+opa836` is the preset or file
before the first `+` with the values of these parts in place of its own, one after the other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from hrat.errors import SpecError
from hrat.names import one_line
from hrat.spec.base import did_you_mean
from hrat.spec.hardware import HardwareSpec, merged
from hrat.spec.toml import parse_toml

__all__ = ["load_spec", "part_names", "preset_names", "spec_from_toml"]


def preset_names() -> list[str]:
    """Names of the presets that come with hrat, sorted."""
    folder = resources.files("hrat.spec") / "presets"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def part_names() -> dict[str, str]:
    """Names of the presets of parts of the hardware, with what each is, sorted."""
    names = sorted(entry.name.removesuffix(".toml") for entry in _parts().iterdir() if entry.name.endswith(".toml"))
    return {name: str(_part(name)["description"]) for name in names}


def load_spec(
    name_or_path: str | os.PathLike[str] | HardwareSpec, overrides: Mapping[str, Any] | None = None, **fields: Any
) -> HardwareSpec:
    """Load a preset or a TOML file, with some values replaced.

    Args:
        name_or_path: name of a preset, path of a TOML file (a preset goes first where both exist), or a spec. Either
            name may be followed by parts, `generic-4bit+opa836` (see `hrat.spec.part_names`).
        overrides: values by bare or dotted name, `{"device.weight_bits": 4}`; see `HardwareSpec.replace`.
        fields: values by bare name, `weight_bits=4`.

    Raises:
        SpecError: no such preset or file, a file that is not TOML, or values that do not fit together.
    """
    spec = _find(name_or_path)
    return spec.replace(overrides, **fields) if overrides or fields else spec


def spec_from_toml(text: str) -> HardwareSpec:
    """The spec that a TOML text describes; see the head of this module for partial ones.

    Raises:
        SpecError: text that is not TOML, an unknown key or preset, or values that do not fit together.
    """
    return _from_table(parse_toml(text))


def _find(source: str | os.PathLike[str] | HardwareSpec) -> HardwareSpec:
    if isinstance(source, HardwareSpec):
        return source
    if isinstance(source, str):
        if source in preset_names():
            return _preset(source)
        whole, *parts = source.split("+")
        if parts and not Path(source).is_file():
            return _with_parts(_find(whole), parts)
        looks_like_path = source.endswith(".toml") or "/" in source or os.sep in source
        if looks_like_path or (source and Path(source).is_file()):
            return _from_file(Path(source))
        return _preset(source)  # refuses it
    if isinstance(source, os.PathLike):
        return _from_file(Path(source))
    raise SpecError(f"expected the name of a preset, the path of a TOML file or a HardwareSpec, got {source!r}")


def _preset(name: str) -> HardwareSpec:
    names = preset_names()
    if name not in names:
        raise SpecError(
            f"there is no preset {name!r}{did_you_mean(name, names)} (presets: {', '.join(names)}; "
            "a spec of your own is named by the path of its TOML file)"
        )
    return spec_from_toml((resources.files("hrat.spec") / "presets" / f"{name}.toml").read_text(encoding="utf-8"))


def _with_parts(spec: HardwareSpec, parts: list[str]) -> HardwareSpec:
    for name in parts:
        table = _part(name)
        del table["description"]
        spec = merged(spec, {"name": f"{spec.name}+{name}", **table})
    return spec


def _parts() -> Traversable:
    return resources.files("hrat.spec") / "presets" / "parts"


def _part(name: str) -> dict[str, Any]:
    """What the preset of a part says, with its description.

    Raises:
        SpecError: there is no such part.
    """
    files = {entry.name.removesuffix(".toml"): entry for entry in _parts().iterdir() if entry.name.endswith(".toml")}
    if name not in files:
        raise SpecError(
            f"there is no part {name!r}{did_you_mean(name, files)} (parts: {', '.join(sorted(files))}, as in "
            "generic-4bit+opa836)"
        )
    return parse_toml(files[name].read_text(encoding="utf-8"))


def _from_file(path: Path) -> HardwareSpec:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise SpecError(f"{path}: there is no such file; presets: {', '.join(preset_names())}") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: expected a TOML file in UTF-8, got other bytes at position {error.start}") from None
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        # A file that gives no name is called after itself, not after its base.
        return _from_table({"name": one_line(path.stem), **parse_toml(text)})
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None


def _from_table(table: dict[str, Any]) -> HardwareSpec:
    if "base" not in table:
        return HardwareSpec(**table)
    base = table.pop("base")
    if not isinstance(base, str):
        raise SpecError(f"base: expected the name of a preset, got {base!r}")
    whole, *parts = base.split("+")
    return merged(_with_parts(_preset(whole), parts), table)
