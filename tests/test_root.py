"""The root package: what `import hrat` gives, and what it leaves until it is asked for."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import hrat

PACKAGE = Path(hrat.__file__).parent
ROOMS = sorted(folder.parent.name for folder in PACKAGE.glob("*/__init__.py") if folder.parent.name != "cli")

MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.stem not in ("__init__", "__main__")]


def ran(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_there_after_a_plain_import(room: str) -> None:
    assert room in dir(hrat)
    assert getattr(hrat, room).__name__ == f"hrat.{room}"


def test_rooms_are_imported_when_they_are_asked_for() -> None:
    assert ran("import sys, hrat; print('torch' in sys.modules, hrat.experiments.train.__name__)") == "False train"


@pytest.mark.parametrize("name", hrat.__all__)
def test_each_public_name_is_there(name: str) -> None:
    assert getattr(hrat, name) is not None


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'recipes'"):
        hrat.recipes  # noqa: B018


def test_no_module_is_hidden_by_a_name_of_its_package() -> None:
    """So that `import hrat.room.module as m` yields the module."""
    hidden = []
    for path in MODULES:
        package = import_module(".".join(["hrat", *path.parent.relative_to(PACKAGE).parts]))
        there = vars(package).get(path.stem)
        if (
            there is not None and not isinstance(there, ModuleType) and path.name != "app.py"
        ):  # of `cli`, which is a script
            hidden.append(str(path.relative_to(PACKAGE)))
    assert not hidden
