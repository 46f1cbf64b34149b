"""Specs from presets, TOML text and TOML files.

A file may be partial: what it leaves out takes the defaults of the sections (those of the preset `generic-4bit`), or,
where the file says `base = "name"` at its top, the values of that preset.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from hrat.errors import SpecError
from hrat.names import one_line
from hrat.spec.base import did_you_mean
from hrat.spec.hardware import HardwareSpec, merged
from hrat.spec.toml import parse_toml

__all__ = ["load_spec", "preset_names", "spec_from_toml"]


def preset_names() -> list[str]:
    """Names of the presets that come with hrat, sorted."""
    folder = resources.files("hrat.spec") / "presets"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_spec(
    name_or_path: str | os.PathLike[str] | HardwareSpec, overrides: Mapping[str, Any] | None = None, **fields: Any
) -> HardwareSpec:
    """Load a preset or a TOML file, with some values replaced.

    Args:
        name_or_path: name of a preset, path of a TOML file (a preset goes first where both exist), or a spec.
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
    return merged(_preset(base), table)
