"""Mutants of what hrat writes: one or a few places changed, as by a fault of memory, a mistake or a stranger's hand."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

NASTY_TEXTS = (
    *("", " ", "x" * 5_000, "../../outside", "/abs/outside", "a\n.control\nshell touch ran\n.endc", "a\x00b", "\ud800"),
    *("$\\frac{$", "[bold]", "<script>alert(1)</script>", "=1+1", "@SUM(A1)", "\u202eevil", "a,b\"c'd", "NaN", "{x}"),
    *("%99999999999d", "CON", ".", "..", "-o", "\r", "\u2028"),
)
NASTY_NUMBERS = (
    *(
        0,
        -1,
        1,
        2**31,
        2**63,
        2**64,
        10**40,
        -(10**40),
        1e308,
        -1e308,
        1e-320,
        float("nan"),
        float("inf"),
        -float("inf"),
    ),
    *(0.5, 3, 1e12, 10**9),
)
NASTY_OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], {"a": {}}, [1, [2, [3]]], {"tuple": []})


def places(data: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value of parsed JSON."""
    if at:
        yield at
    if isinstance(data, dict):
        for key in data:
            yield from places(data[key], (*at, key))
    elif isinstance(data, list):
        for k in range(len(data)):
            yield from places(data[k], (*at, k))


def nasty(rng: random.Random) -> Any:
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(NASTY_NUMBERS)
    if kind < 0.75:
        return rng.choice(NASTY_TEXTS)
    return copy.deepcopy(rng.choice(NASTY_OTHERS))


def deep(rng: random.Random) -> Any:
    """A nest that is deeper than Python's stack."""
    nest: Any = 1
    for _ in range(rng.choice((20, 100, 300))):
        nest = [nest]
    return nest


def change_json(data: Any, rng: random.Random) -> Any:
    """One place of parsed JSON changed; `data` is left as it is."""
    data = copy.deepcopy(data)
    ways = list(places(data))
    if not ways or rng.random() < 0.02:
        return nasty(rng)
    *way, last = rng.choice(ways)
    holder = data
    for step in way:
        holder = holder[step]
    here = holder[last]
    match rng.randrange(8):
        case 0:
            del holder[last]
        case 1 if isinstance(holder, list):
            holder.insert(last, copy.deepcopy(here))
        case 2 if isinstance(holder, list):
            rng.shuffle(holder)
        case 3 if isinstance(holder, dict) and isinstance(last, str):
            holder[rng.choice((*NASTY_TEXTS, last + "x"))] = holder.pop(last)
        case 4:
            holder[last] = near(here, rng)
        case 5:  # a value from elsewhere
            other: Any = data
            for step in rng.choice(ways):
                other = other[step]
            holder[last] = copy.deepcopy(other)
        case 6 if rng.random() < 0.2:
            holder[last] = deep(rng)
        case _:
            holder[last] = nasty(rng)
    return data


def near(value: Any, rng: random.Random) -> Any:
    """Something of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice((value + 1, value - 1, -value, value * 1000, 2 * value))
    if isinstance(value, float):
        return rng.choice((-value, value * 1e6, value * 1e-6, float("nan"), float("inf"), 0.0))
    if isinstance(value, str):
        return rng.choice((value + rng.choice(NASTY_TEXTS), value[::-1], value[:-1], value.upper()))
    return nasty(rng)


def change_tensors(tensors: dict[str, Tensor], rng: random.Random) -> None:
    """One tensor changed, in place of the dictionary."""
    key = rng.choice(sorted(tensors))
    tensor = tensors[key].clone()
    changes: list[Callable[[], Tensor | None]] = [
        lambda: None,
        lambda: tensor.to(rng.choice((torch.float16, torch.float64, torch.int64, torch.uint8, torch.bool))),
        lambda: tensor.to(torch.complex64) if rng.random() < 0.5 else tensor.to(torch.bfloat16),
        lambda: tensor.flatten(),
        lambda: tensor.unsqueeze(0),
        lambda: tensor.mT.contiguous() if tensor.ndim > 1 else tensor[:-1] if tensor.ndim else tensor,
        lambda: tensor[:0] if tensor.ndim else tensor.new_zeros(0),
        lambda: _poked(tensor, rng),
        lambda: _poked(tensor, rng),
        lambda: _poked(tensor, rng),
        lambda: -tensor if tensor.dtype != torch.bool else ~tensor,
        lambda: tensor * 1_000_000 if tensor.dtype != torch.bool else ~tensor,
        lambda: torch.zeros_like(tensor),
        lambda: tensors[rng.choice(sorted(tensors))].clone(),
    ]
    changed = rng.choice(changes)()
    if changed is None:
        name = rng.choice((None, key + "x", key.replace("0", "1"), "graph/" + rng.choice(NASTY_TEXTS)))
        held = tensors.pop(key)
        if name is not None:
            tensors[name] = held
    else:
        tensors[key] = changed.contiguous()


def _poked(tensor: Tensor, rng: random.Random) -> Tensor:
    """One value changed."""
    if not tensor.numel():
        return tensor
    flat = tensor.flatten()
    at = rng.randrange(flat.numel())
    if tensor.is_floating_point():
        flat[at] = rng.choice((float("nan"), float("inf"), -1.0, 1e30, 0.0, -float("inf"), 1e-30))
    elif tensor.dtype != torch.bool:
        flat[at] = rng.choice((0, 1, 100, 127))
    return flat.view(tensor.shape)


def change_text(text: str, rng: random.Random) -> bytes:
    """One place of a text file changed: in its characters, lines, cells or encoding."""
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    match rng.randrange(10):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[at])
        case 2:
            cells = lines[at].split(",")
            cells[rng.randrange(len(cells))] = str(nasty(rng))
            lines[at] = ",".join(cells)
        case 3:
            lines[at] = lines[at] + "," + rng.choice(NASTY_TEXTS)
        case 4:
            lines[at] = rng.choice(NASTY_TEXTS)
        case 5:
            return "\n".join(lines).encode(rng.choice(("utf-16", "utf-32", "cp1252", "utf-7")), errors="replace")
        case 6:
            data = bytearray("\n".join(lines).encode("utf-8", errors="replace"))
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
            return bytes(data)
        case 7:
            whole = "\n".join(lines).encode("utf-8", errors="replace")
            return whole[: rng.randrange(len(whole) + 1)]
        case 8:
            lines[at] = lines[at].replace(".", ",")
        case _:
            lines[at] = "".join(rng.sample(lines[at], len(lines[at])))
    return "\n".join(lines).encode("utf-8", errors="surrogatepass")


def change_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bits flipped, or a part cut off, doubled or of zeros."""
    changed = bytearray(data)
    at = rng.randrange(len(changed))
    match rng.randrange(4):
        case 0:
            changed[at] ^= 1 << rng.randrange(8)
        case 1:
            del changed[at:]
        case 2:
            changed[at : at + 64] = bytes(min(64, len(changed) - at))
        case _:
            changed[at:at] = changed[at : at + 64]
    return bytes(changed)
