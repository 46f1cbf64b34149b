"""Trained model -> Deployment."""

from __future__ import annotations

from hrat.mapping.deploy import deploy

__all__ = ["deploy"]
