"""One module for each peer: its settings, and how it is called. The peer itself is imported by its module alone.

To add a peer: write its module with a class `Adapter`, and give it a line here and in `environments.py`.
"""

from importlib import import_module
from typing import Any

PEERS: dict[str, str] = {
    "hrat": "hrat_library",
    "aihwkit-torch": "aihwkit_torch_tile",
    "aihwkit-cpp": "aihwkit_cpp_tile",
    "aihwkit-lightning": "lightning",
    "crosssim": "crosssim",
    "brevitas": "brevitas_4bit",
    "memintelli": "memintelli_slices",
    "badcrossbar": "badcrossbar_solver",
}
"""Peer -> module."""

CIRCUIT_SOLVERS = ("badcrossbar",)
"""Peers that solve single tiles, and train no network."""


def load(peer: str) -> Any:
    """A new `Adapter` of the peer; imports the peer."""
    return import_module(f"adapters.{PEERS[peer]}").Adapter()
