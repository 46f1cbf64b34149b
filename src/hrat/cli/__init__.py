"""The command line: one file for each verb of `hrat`."""

from __future__ import annotations

from hrat.cli.app import app, main

__all__ = ["app", "main"]
