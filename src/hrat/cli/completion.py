"""Shell completion: names of recipes, presets, fields of specs, methods, data sets, solvers.

Nothing here imports torch, for which nobody waits with a finger on Tab; names that live beside it stand here once more,
and a test holds the two together.
"""

from __future__ import annotations

from collections import Counter
from importlib.resources import files

__all__ = [
    "DATA",
    "METHODS",
    "SCHEMES",
    "SOLVERS",
    "data",
    "fields",
    "methods",
    "recipes",
    "schemes",
    "solvers",
    "specs",
]

METHODS = (
    *("float", "plain", "variation-aware", "variation-and-limits"),
    *("hrat-unfused", "hrat-fixed-scales", "hrat-no-scales", "hrat"),
)
DATA = ("mnist5k", "mnist", "fashion-mnist", "cifar10", "cifar100")
SOLVERS = ("behavioural", "nodal", "spice")
SCHEMES = ("statistical", "open-loop", "write-verify")

Offered = list[tuple[str, str]]
"""Word and what it means."""


def recipes(incomplete: str) -> list[str]:
    """Names of the recipes that come with hrat."""
    folder = files("hrat") / "experiments" / "recipes"
    return _starting(
        incomplete, sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml"))
    )


def specs(incomplete: str) -> list[str]:
    """Names of the presets, and behind a `+` those of parts."""
    from hrat.spec import part_names, preset_names

    whole, plus, _ = incomplete.rpartition("+")
    return _starting(incomplete, [f"{whole}+{part}" for part in part_names()] if plus else preset_names())


def fields(incomplete: str) -> Offered:
    """Fields of a spec as `section.field=`, and by the field's own name where one section alone has it."""
    from hrat.spec import SECTIONS

    offered: Offered = []
    owners = Counter(name for part in SECTIONS.values() for name in part.model_fields)
    for section, part in SECTIONS.items():
        for name, info in part.model_fields.items():
            meaning = (info.description or "").partition("\n")[0]
            short = [f"{name}="] if incomplete and owners[name] == 1 else []
            offered += [(word, meaning) for word in (f"{section}.{name}=", *short) if word.startswith(incomplete)]
    return offered


def methods(incomplete: str) -> list[str]:
    """Ways to train; of a list with commas the last one."""
    done, comma, last = incomplete.rpartition(",")
    return [f"{done}{comma}{name}" for name in _starting(last, METHODS)]


def data(incomplete: str) -> list[str]:
    """Data sets."""
    return _starting(incomplete, DATA)


def solvers(incomplete: str) -> list[str]:
    """Solvers, for all layers or, behind `LAYER=`, for one."""
    layer, equals, name = incomplete.rpartition("=")
    return [f"{layer}{equals}{known}" for known in _starting(name, SOLVERS)]


def schemes(incomplete: str) -> list[str]:
    """Ways to program."""
    return _starting(incomplete, SCHEMES)


def _starting(incomplete: str, names: list[str] | tuple[str, ...]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
