"""A network out of a file of the user's own, `mynet.py:Net`, run only where the user names it.

The digest tells one version of the file from another; what the file imports beside it is not in it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from hrat.errors import HratError

__all__ = ["RecipeError", "file_and_name", "file_sha256", "network_from_file"]

PATTERN = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")


class RecipeError(HratError, ValueError):
    """A recipe that lacks something or names what does not exist."""


def file_and_name(network: str) -> tuple[str, str] | None:
    """File and name of `mynet.py:Net`; None for the name of a network that comes with hrat."""
    found = PATTERN.fullmatch(network)
    return None if found is None else (found["file"], found["name"])


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        RecipeError: there is no such file.
    """
    if not path.is_file():
        raise RecipeError(f"there is no file {path}; expected a path relative to the recipe that names it")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def network_from_file(path: Path, name: str, arguments: Mapping[str, Any], *, sha256: str) -> nn.Module:
    """A new network by a class or function of a Python file, which is run.

    Args:
        path: the file.
        name: the class, or a function that returns a network.
        arguments: its keyword arguments.
        sha256: digest that the file has to have.

    Raises:
        RecipeError: the file has another digest, fails, lacks the name, or makes no network of these arguments.
    """
    found = file_sha256(path)
    if sha256 and found != sha256:
        raise RecipeError(
            f"{path} has changed since it was first used here (SHA-256 {found[:12]}..., then {sha256[:12]}...); "
            "expected the same network: restore the file, or begin anew with another folder (--fresh)"
        )
    make = getattr(_module(path, found), name, None)
    if not callable(make):
        raise RecipeError(f"{path} has no class or function '{name}'; expected one that makes a torch.nn.Module")
    try:
        network = make(**arguments)
    except Exception as error:  # whatever the user's code raises
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise RecipeError(f"{path}: {name}({given}) fails: {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise RecipeError(f"{path}: {name} makes a {type(network).__name__}; expected a torch.nn.Module")
    return network


def _module(path: Path, sha256: str) -> ModuleType:
    """The file as a module, run once for each of its versions; it can import what lies beside it."""
    name = f"hrat_own_network_{path.stem}_{sha256[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's code raises
        del sys.modules[name]
        raise RecipeError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    return module
