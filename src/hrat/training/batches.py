"""Batches on their way into a network: onto the device, and in parts."""

from __future__ import annotations

from typing import Any

import torch

from hrat.errors import TrainingError

__all__ = ["equal_parts", "on_device"]


def on_device(value: Any, device: torch.device, *, channels_last: bool = False) -> Any:
    """An input, or several of them, on the device."""
    if isinstance(value, tuple | list):
        return tuple(on_device(part, device, channels_last=channels_last) for part in value)
    if device.type == "cuda" and value.device.type == "cpu":
        value = value.pin_memory()  # from there the copy runs beside what the GPU computes
    moved = value.to(device, non_blocking=True)
    if channels_last and moved.ndim == 4:
        moved = moved.contiguous(memory_format=torch.channels_last)
    return moved


def equal_parts(value: Any, count: int) -> list[Any]:
    """A batch, or several tensors of one, in equally long parts."""
    if count == 1:
        return [value]
    if isinstance(value, tuple | list):
        return list(zip(*(equal_parts(part, count) for part in value), strict=True))
    if len(value) % count:
        raise TrainingError(
            f"expected batches that can be worked on in {count} equal parts (accumulate={count}), got one of "
            f"{len(value)} images on this rank; choose another batch size, and leave out a last batch that is not full "
            "(drop_last=True)"
        )
    return list(value.chunk(count))
