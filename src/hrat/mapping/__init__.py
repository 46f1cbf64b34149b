"""Trained model -> Deployment."""

from __future__ import annotations

from hrat.mapping.compensation import CompensationReport, LayerCompensation, compensate
from hrat.mapping.deploy import deploy

__all__ = ["CompensationReport", "LayerCompensation", "compensate", "deploy"]
