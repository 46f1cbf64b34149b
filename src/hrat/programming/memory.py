"""Free memory of the machine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["available_bytes"]

_CONTAINER = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def available_bytes() -> int | None:
    """Memory that can be taken without swapping; all of the machine's where more is not known, None if nothing is."""
    sizes = (
        _of_machine(),
        _of_container(_CONTAINER, "memory.max", "memory.current", "inactive_file"),
        _of_container(_CONTAINER / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    )
    return min((size for size in sizes if size is not None), default=None)


def _of_machine() -> int | None:
    with suppress(OSError, ValueError):  # Linux
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with suppress(OSError, ValueError, AttributeError):  # other Unix systems
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _of_container(folder: Path, limit: str, used: str, cache: str) -> int | None:
    """Memory that a Linux container (control group, version 2 or 1) may still take; None without a limit."""
    with suppress(OSError, ValueError, KeyError):  # no such files, or "max"
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        # Pages of files that nobody uses count as used, and are given up when memory is wanted.
        used_bytes = int((folder / used).read_text()) - int(stat[cache])
        return max(0, int((folder / limit).read_text()) - used_bytes)
    return None
