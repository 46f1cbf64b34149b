"""Ratios on a noisy machine: the candidates take turns, and the medians of many turns are compared."""

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

import hrat

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""`cpu` is the processor time of all threads, which other programs on the machine disturb less."""


def medians(
    candidates: dict[str, Callable[[], object]], *, turns: int, clock: str = "wall"
) -> dict[str, tuple[float, float]]:
    """Median time of each candidate in seconds, and its spread (half the distance between the quartiles)."""
    now = CLOCKS[clock]
    for run in candidates.values():
        run()  # warm up
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(turns):
        for name, run in candidates.items():
            start = now()
            run()
            times[name].append(now() - start)
    out = {}
    for name, measured in times.items():
        low, middle, high = statistics.quantiles(measured, n=4)
        out[name] = (middle, (high - low) / 2)
    return out


def machine() -> str:
    """What the figures were taken on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    return (
        f"{cpu}, {torch.get_num_threads()} threads, Python {platform.python_version()}, torch {torch.__version__}, "
        f"hrat {hrat.__version__}"
    )
