"""The root package: what `import hrat` gives, and what it leaves until it is asked for."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import hrat

PACKAGE = Path(hrat.__file__).parent
ROOMS = sorted(folder.parent.name for folder in PACKAGE.glob("*/__init__.py") if folder.parent.name != "cli")

MODULES = [path for room in ("experiments", "reports", "training") for path in sorted((PACKAGE / room).rglob("*.py"))]


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


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_is_not_hidden_by_a_name_of_its_package(path: Path) -> None:
    package = import_module(".".join(["hrat", *path.parent.relative_to(PACKAGE).parts]))
    if path.stem != "__init__":
        assert path.stem not in package.__all__
