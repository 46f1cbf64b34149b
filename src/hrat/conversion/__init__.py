"""Conversion of a PyTorch network to one that trains as the chip computes, in passes over its graph (`prepare`)."""

from __future__ import annotations

from hrat.conversion.convert import prepare
from hrat.conversion.differences import ROUNDINGS, last_digit, moved_by_rounding
from hrat.conversion.scales import ScaleMode
from hrat.conversion.trace import example_args

__all__ = ["ROUNDINGS", "ScaleMode", "example_args", "last_digit", "moved_by_rounding", "prepare"]
