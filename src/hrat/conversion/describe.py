"""Nodes of a traced graph in words."""

from __future__ import annotations

from pathlib import Path

from torch import fx

__all__ = ["OWN_FOLDER", "describe"]

OWN_FOLDER = str(Path(__file__).parent)
"""Folder of this package, whose source lines are not the model's."""


def describe(node: fx.Node) -> str:
    """The node's name and the line of the model's source that made it."""
    text = f"node '{node.name}' ({node.op} {getattr(node.target, '__name__', node.target)})"
    for line in reversed((node.stack_trace or "").splitlines()):
        if line.strip().startswith("File") and not any(part in line for part in ("/torch/", OWN_FOLDER)):
            return f"{text}, {line.strip()}"
    return text
