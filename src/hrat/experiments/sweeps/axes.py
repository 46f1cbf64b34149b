"""Axes of a parameter sweep: a field of the spec, a training option or a part of the recipe, and its values."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hrat.errors import HratError, SpecError
from hrat.experiments.recipes import METHODS, Recipe
from hrat.experiments.sweeps.trial import Trial
from hrat.seeds import check_seed
from hrat.spec import SECTIONS, HardwareSpec, toml_table
from hrat.training import FitOptions

__all__ = ["Axis", "changed", "grid", "parse_axis", "random_points"]

Point = dict[str, Any]
"""A value for each name that is varied."""

OF_RECIPE = ("network", "augment", "batch_size", "scales", "batch_norm")
OF_TRIAL = ("method", "seed")
GRID_POINTS = 5
"""Points of a range in a grid where no number is given."""


@dataclass(frozen=True)
class Axis:
    """One name and its values: a list of them, or a range."""

    name: str
    values: tuple[Any, ...] = ()
    """Empty where there is a range."""
    low: float = math.nan
    high: float = math.nan
    points: int = GRID_POINTS
    """Number of values of a range in a grid."""
    log: bool = False
    """Whether a range is even in the logarithm."""
    whole: bool = False
    """Whether only whole numbers make sense."""

    def on_grid(self) -> tuple[Any, ...]:
        """The values of a grid."""
        if self.values:
            return self.values
        steps = [k / max(1, self.points - 1) for k in range(self.points)]
        return tuple(dict.fromkeys(self.at(step) for step in steps))

    def at(self, share: float) -> Any:
        """The value at a part of the way, in [0, 1]."""
        if self.values:
            return self.values[min(len(self.values) - 1, int(share * len(self.values)))]
        if self.log:
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        # Rounding keeps 0.1 + 0.2 out of tables and file names.
        return round(value) if self.whole else float(f"{value:.6g}")


def parse_axis(text: str) -> Axis:
    """An axis as it is written on the command line.

        weight_bits=2,3,4                   values
        sigma_rel=0:0.2:5                   5 values from 0 to 0.2
        lr=log:1e-4:1e-2                    a range, even in the logarithm
        chip.sigma_rel=0.02,0.05            of the chips alone: the network is trained once
        method=plain,hrat                   training methods
        seed=0,1,2                          seeds of training

    Raises:
        HratError: it cannot be read, or the name is that of no field.
    """
    name, equals, right = text.partition("=")
    name, right = name.strip(), right.strip()
    if not equals or not name or not right:
        raise HratError(f"cannot read {text!r}; expected NAME=A,B,C or NAME=LOW:HIGH[:POINTS], as weight_bits=2,3,4")
    kind = _kind(name)
    parts = right.split(":")
    log = parts[0] == "log"
    parts = parts[1:] if log else parts
    if len(parts) == 1 and not log:
        return Axis(name, tuple(_value(part.strip(), text) for part in right.split(",")))
    try:
        low, high = float(parts[0]), float(parts[1])
        points = int(parts[2]) if len(parts) > 2 else GRID_POINTS
    except (ValueError, IndexError) as error:
        raise HratError(f"cannot read the range in {text!r}; expected [log:]LOW:HIGH[:POINTS], as 0:0.2:5") from error
    if len(parts) > 3 or not low < high or not math.isfinite(high - low) or points < 2 or (log and low <= 0):
        raise HratError(f"{text!r}: expected LOW < HIGH, 2 points or more, and for a logarithm LOW > 0; got {right}")
    return Axis(name, low=low, high=high, points=points, log=log, whole=kind == "whole")


def _value(text: str, whole: str) -> Any:
    if not text:
        raise HratError(f"there is an empty value in {whole!r}")
    try:
        return toml_table(f"x = {text}")["x"]
    except SpecError:
        return text  # a name, without quotes


def _kind(name: str) -> str:
    """Whether whole numbers alone make sense of a name that is known.

    Raises:
        HratError: it is not known, or could mean two things.
    """
    bare = name.removeprefix("chip.").removeprefix("fit.")
    fields = {
        f"{section}.{field}": info for section, part in SECTIONS.items() for field, info in part.model_fields.items()
    }
    of_spec = [key for key in fields if bare in (key, key.split(".")[1])]
    options = {field.name: field for field in dataclasses.fields(FitOptions)}
    if name.startswith("chip."):
        candidates = of_spec
    elif name.startswith("fit."):
        candidates = [bare] if bare in options else []
    else:
        candidates = [
            *of_spec,
            *([bare] if bare in options else []),
            *([bare] if bare in (*OF_RECIPE, *OF_TRIAL) else []),
        ]
    if not candidates:
        every = [*(key.split(".")[1] for key in fields), *options, *OF_RECIPE, *OF_TRIAL]
        near = difflib.get_close_matches(bare.split(".")[-1], every, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise HratError(
            f"nothing is called '{name}'{hint}; expected a field of the spec (`hrat spec show`), a training option, "
            f"{', '.join((*OF_RECIPE, *OF_TRIAL))}, or chip.FIELD"
        )
    if len(candidates) > 1:
        raise HratError(
            f"'{name}' may be any of {', '.join(candidates)}; give the whole name (of a training option, fit.{bare})"
        )
    if candidates[0] in fields:
        annotation = str(fields[candidates[0]].annotation)
    else:
        annotation = str(options[bare].type) if bare in options else ""
    return "whole" if "int" in annotation or bare in ("batch_size", "seed") else "any"


def grid(axes: Sequence[Axis]) -> Iterator[Point]:
    """Every combination, the last axis changing fastest."""
    for values in itertools.product(*(axis.on_grid() for axis in axes)):
        yield {axis.name: value for axis, value in zip(axes, values, strict=True)}


def random_points(axes: Sequence[Axis], count: int, seed: int) -> Iterator[Point]:
    """`count` points drawn evenly; the first ones of a larger count are those of a smaller one."""
    draw = random.Random(seed)
    for _ in range(count):
        yield {axis.name: axis.at(draw.random()) for axis in axes}


def changed(base: Trial, point: Point) -> Trial:
    """The trial with the values of a point.

    Raises:
        HratError: with the point, if a value is out of its range or fits no other.
    """
    try:
        return _changed(base, point)
    except (HratError, TypeError, ValueError) as error:
        where = ", ".join(f"{name}={value}" for name, value in point.items())
        raise HratError(f"the trial with {where} cannot be: {error}") from error


def _changed(base: Trial, point: Point) -> Trial:
    options = {field.name for field in dataclasses.fields(FitOptions)}
    spec: dict[str, Any] = {}
    chip: dict[str, Any] = {}
    fit: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    of_trial: dict[str, Any] = {}
    for name, value in point.items():
        if name.startswith("chip."):
            chip[name.removeprefix("chip.")] = value
        elif name.startswith("fit.") or name in options:
            fit[name.removeprefix("fit.")] = value
        elif name in OF_RECIPE:
            recipe[name] = value
        elif name in OF_TRIAL:
            of_trial[name] = value
        else:
            spec[name] = value
    if of_trial.get("method", base.method) not in METHODS:
        raise HratError(f"unknown method {of_trial['method']!r}; expected one of {', '.join(METHODS)}")
    check_seed(of_trial.get("seed", 0))
    network = recipe.pop("network", None)
    new_recipe: Recipe = replace(base.recipe.with_fit(**fit), **recipe)
    if network is not None:
        new_recipe = new_recipe.with_network(network)
    new_spec: HardwareSpec = base.spec.replace(spec) if spec else base.spec
    chip_spec = None if base.chip_spec is None and not chip else base.on_chip.replace({**spec, **chip})
    return replace(base, recipe=new_recipe, spec=new_spec, chip_spec=chip_spec, **of_trial)
