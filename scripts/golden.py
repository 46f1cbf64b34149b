#!/usr/bin/env python3
"""Keep what hrat computes, and say later what has changed: for work on the code that must change no number.

    python scripts/golden.py save FOLDER              # at the commit to compare with; a few minutes on one core
    python scripts/golden.py compare FOLDER           # after the work, on the same machine; status 1 on any difference
    python scripts/golden.py compare FOLDER --only wires

Deployments, programmed chips, simulations and steps of training of all networks of tests/laws, and fits to
measurements, through the public functions alone, so that internals may be renamed. All is compared bit for bit;
processors and versions of PyTorch round differently, so a folder serves only the machine and the environment that
wrote it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from golden_cases import PARAMETERS, Items, cases
from safetensors.torch import load_file, save_file
from torch import Tensor

import hrat

# ---- as items --------------------------------------------------------------------------------------------------------


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The tensors and JSON values of nested data, each with its path.

    Raises:
        TypeError: data of a type that is not known here.
    """
    if isinstance(value, Tensor):
        yield path, value.detach().cpu().clone().contiguous()
    elif value is None or isinstance(value, bool | int | float | str):
        # Where a network's file lies and at which line is none of hrat's results.
        yield path, re.sub(r"\S*\.py:\d+", "FILE.py", value) if isinstance(value, str) else value
    elif isinstance(value, torch.dtype | torch.device | type(...)):
        yield path, str(value)
    elif isinstance(value, slice):
        yield from flatten([value.start, value.stop, value.step], path)
    else:
        for key, part in children(value, path):
            yield from flatten(part, f"{path}/{key}" if path else str(key))


def children(value: Any, path: str) -> list[tuple[Any, Any]]:
    """The parts of a container, each with its name."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, Sequence):
        return [("length", len(value)), *enumerate(value)]
    if hasattr(value, "to_dict"):
        return list(value.to_dict().items())
    if dataclasses.is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    raise TypeError(f"{path}: expected tensors, JSON values, containers or dataclasses, got {type(value).__name__}")


def compute(name: str, case: Callable[[], Items]) -> Items:
    """The items of a case, each path with the case in front; what depends on the clock is left out."""
    torch.manual_seed(0)
    items = {f"{name} | {path}": value for path, value in flatten(case())}
    return {path: value for path, value in items.items() if not path.endswith("/seconds")}


# ---- the verbs -------------------------------------------------------------------------------------------------------


def save(folder: Path, chosen: Mapping[str, Callable[[], Items]]) -> int:
    """Write what the cases yield."""
    items: Items = {}
    for name, case in chosen.items():
        items |= timed(name, case)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {path: value for path, value in items.items() if isinstance(value, Tensor)}, folder / "golden.safetensors"
    )
    plain = {path: value for path, value in items.items() if not isinstance(value, Tensor)}
    (folder / "golden.json").write_text(json.dumps(plain, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(chosen)} cases, {len(items)} items in {folder}")
    return 0


def compare(folder: Path, chosen: Mapping[str, Callable[[], Items]]) -> int:
    """Say for each case whether it yields what was saved, and of each item that differs, how."""
    kept: Items = dict(load_file(folder / "golden.safetensors"))
    kept |= json.loads((folder / "golden.json").read_text(encoding="utf-8"))
    n_different = 0
    for name, case in chosen.items():
        wanted = {path: value for path, value in kept.items() if path.startswith(f"{name} | ")}
        got = timed(name, case)
        lines = list(differences(wanted, got))
        n_different += bool(lines)
        print(f"{'DIFFERS' if lines else 'equal'}: {name} ({len(wanted)} items)", *lines, sep="\n    ", flush=True)
    print(f"{len(chosen)} cases, {n_different} with differences")
    return 1 if n_different else 0


def differences(wanted: Items, got: Items) -> Iterator[str]:
    """A line for each item that is not what it was."""
    lost, new = [path for path in wanted if path not in got], [path for path in got if path not in wanted]
    for path in list(lost):
        match = next((other for other in new if renamed(path, other) and same(wanted[path], got[other])), None)
        if match is not None:
            lost.remove(path)
            new.remove(match)
    for path in [path for path in wanted if path in got]:
        if not same(wanted[path], got[path]):
            yield f"{path}: {how_different(wanted[path], got[path])}"
    yield from (f"{path}: missing" for path in lost)
    yield from (f"{path}: new" for path in new)


def renamed(path: str, other: str) -> bool:
    """Whether both are parameters of the same network, whose names are free."""
    ahead, _, _ = path.partition(f"{PARAMETERS}/")
    return ahead != path and other.startswith(f"{ahead}{PARAMETERS}/")


def same(a: Any, b: Any) -> bool:
    """Equal bit for bit, numbers that are none included."""
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return type(a) is type(b) and (a == b or (a != a and b != b))
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(as_bytes(a), as_bytes(b))


def as_bytes(x: Tensor) -> Tensor:
    """The memory of a tensor."""
    return x.reshape(-1).view(torch.uint8)


def how_different(before: Any, after: Any) -> str:
    """In words, for a person."""
    if not isinstance(before, Tensor) or not isinstance(after, Tensor):
        return f"was {shortened(before)}, is {shortened(after)}"
    if before.shape != after.shape or before.dtype != after.dtype:
        return f"was {before.dtype} {tuple(before.shape)}, is {after.dtype} {tuple(after.shape)}"
    x, y = before.double(), after.double()
    return f"largest difference {float((x - y).abs().max()):.3g} where the largest value is {float(x.abs().max()):.3g}"


def shortened(value: Any) -> str:
    """On a line."""
    text = repr(value)
    return text if len(text) < 100 else f"{text[:100]}... ({len(text):,} characters)"


def timed(name: str, case: Callable[[], Items]) -> Items:
    """Compute a case and say on the error stream how long it took."""
    start = time.perf_counter()
    items = compute(name, case)
    print(f"{time.perf_counter() - start:6.2f} s  {name}", file=sys.stderr, flush=True)
    return items


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("save", "compare"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", metavar="WORD", help="the cases whose name holds this word")
    arguments = parser.parse_args()
    chosen = {name: case for name, case in cases().items() if arguments.only in name}
    if not chosen:
        parser.error(f"no case has {arguments.only!r} in its name; the cases are: {'; '.join(cases())}")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    warnings.simplefilter("ignore")
    print(f"hrat of {Path(hrat.__file__).parent}", file=sys.stderr)
    return (save if arguments.verb == "save" else compare)(arguments.folder, chosen)


if __name__ == "__main__":
    sys.exit(main())
