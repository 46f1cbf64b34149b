"""Conversion of a PyTorch network to one that trains as the chip computes, in passes over its graph (`prepare`)."""

from __future__ import annotations

from hrat.conversion.convert import prepare
from hrat.conversion.scales import ScaleMode

__all__ = ["ScaleMode", "prepare"]
