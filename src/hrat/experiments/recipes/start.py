"""Weights that training starts from: a state dict of the plain network, or a run that was trained without a chip."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from hrat.experiments.recipes.own_network import RecipeError, file_sha256
from hrat.training import load_state

__all__ = ["load_start", "start_sha256"]

WITHIN = ("state_dict", "model")
"""Keys under which other programs keep the state dict in a file."""
PREFIXES = ("module.", "network.", "_orig_mod.")
"""What wrappers put in front of every name: DataParallel, noise injected in training, torch.compile."""
MOST_NAMED = 3


def start_sha256(path: Path) -> str:
    """Digest of the weights: of the file, or of a run's last state.

    Raises:
        RecipeError: there is neither file nor run.
    """
    return file_sha256(_file(path))


def load_start(network: nn.Module, path: Path, *, sha256: str) -> None:
    """Give a plain network its first weights.

    Args:
        network: the network, before it is prepared.
        path: `.safetensors`, or a file of `torch.save` with a state dict, which is read without running code of it; or
            the folder of a run of the method plain or variation-aware.
        sha256: digest that the weights have to have.

    Raises:
        RecipeError: the file has changed, holds no weights, or those of another network.
        TrainingError: the state of the run is damaged.
    """
    file = _file(path)
    if sha256 and file_sha256(file) != sha256:
        raise RecipeError(
            f"the weights in {path} have changed since training began; expected the same: restore them, or begin anew "
            "with another folder (--fresh)"
        )
    state = _state_of_run(path) if path.is_dir() else _state_of_file(file)
    wanted = network.state_dict()
    state = _without_prefix(state, wanted)
    wrong = [f"{name} is missing" for name in wanted if name not in state]
    wrong += [f"{name} is unknown" for name in state if name not in wanted]
    wrong += [
        f"{name} has shape {tuple(state[name].shape)}, not {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in state and state[name].shape != value.shape
    ]
    if wrong:
        more = f", and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
        raise RecipeError(
            f"{path} holds the weights of another network than the recipe's: {', '.join(wrong[:MOST_NAMED])}{more}; "
            "expected the state dict of that network as it is before hrat.prepare"
        )
    network.load_state_dict(state)


def _file(path: Path) -> Path:
    return path / "last.pt" if path.is_dir() else path


def _state_of_run(folder: Path) -> dict[str, Tensor]:
    try:
        method = json.loads((folder / "run.json").read_text(encoding="utf-8"))["method"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(
            f"{folder} holds no run (run.json: {error}); expected a folder that hrat train wrote"
        ) from error
    state: dict[str, Tensor] = load_state(folder / "last.pt")["model"]
    if any(name.startswith("graph.") for name in state):
        raise RecipeError(
            f"the run in {folder} was trained by the method {method}, whose weights are those of a prepared model; "
            "expected a run of the method plain or variation-aware, or a file with the weights of the plain network"
        )
    return state


def _state_of_file(path: Path) -> dict[str, Tensor]:
    try:
        found: Any
        if path.suffix == ".safetensors":
            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, ValueError, EOFError, KeyError, OSError) as error:
        raise RecipeError(f"{path} cannot be read as weights: {error}; expected .safetensors or .pt") from error
    except Exception as error:  # pickle.UnpicklingError: it holds more than weights
        raise RecipeError(
            f"{path} holds more than weights, which would be code to run: save them alone, "
            f"torch.save(model.state_dict(), path) ({str(error).splitlines()[0]})"
        ) from error
    for key in WITHIN:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise RecipeError(f"{path} holds no state dict; expected torch.save(model.state_dict(), path)")
    return dict(found)


def _without_prefix(state: dict[str, Tensor], wanted: Mapping[str, Any]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        bare = {name.removeprefix(prefix): value for name, value in state.items()}
        if all(name.startswith(prefix) for name in state) and not wanted.keys() & state.keys():
            state = bare
    return state
