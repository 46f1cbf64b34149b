"""What the processor can do that training makes use of."""

from __future__ import annotations

from pathlib import Path

import torch

__all__ = ["bfloat16_instructions", "has_bfloat16"]

CPU_INFO = Path("/proc/cpuinfo")
WANTED = ("amx_bf16", "avx512_bf16", "bf16")
"""Flags of processors that multiply in bfloat16; the last one is what Linux calls it on ARM."""


def bfloat16_instructions() -> list[str]:
    """The processor's instructions for products in bfloat16, by their flags; empty where it has none."""
    try:
        flags = set(CPU_INFO.read_text(encoding="utf-8", errors="replace").split())
    except OSError:  # no Linux: what torch says, as far as this version does
        asked = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return ["avx512_bf16"] if asked is not None and asked() else []
    return [flag for flag in WANTED if flag in flags]


def has_bfloat16(device: torch.device | str | None = None) -> bool:
    """Whether products in bfloat16 are quick on a device; the processor if None."""
    kind = "cpu" if device is None else torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return kind == "cpu" and bool(bfloat16_instructions())
