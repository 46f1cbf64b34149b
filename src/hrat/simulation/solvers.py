"""The protocol of solvers of arrays and amplifiers, and the choice of one for each layer.

A solver turns the layers of a chip into models. A model of a layer is either linear, and then as quick as the network
itself,

    gains       what each amplifier multiplies the word lines' voltages by (`hrat.encoding.Readout.terms`), such as
                `(R_f (G+ - G-),)` or `(R_f G+, R_f G-)`: each tensor `(chips, *weight_shape)`, of `Readout.negatives`
                for `G-`, no unit; `G` may be what the devices show through their wires

or it is asked for each batch,

    callables   one for each chip: word-line voltages `(images, in, *space)`, V -> amplifier outputs with the bias in
                them, `(images, out, *space)`, V
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Protocol

import torch
from torch import Tensor

from hrat.artifacts import ProgrammedChip
from hrat.encoding import Geometry, Readout
from hrat.errors import HratError
from hrat.spec import HardwareSpec

__all__ = [
    "LayerModel",
    "Solver",
    "SolverChoice",
    "SolverError",
    "Statistics",
    "choose_solvers",
    "gains",
    "in_words",
]

LayerModel = tuple[Tensor, ...] | tuple[Callable[[Tensor], Tensor], ...]
"""Gains, or a callable for each chip."""
Statistics = dict[str, dict[str, float]]
"""Statistics of each layer's solution, such as `seconds`: amounts that add up over batches and chips."""


class SolverError(HratError, RuntimeError):
    """A circuit that could not be solved: the message says which, why, and what to do."""


class Solver(Protocol):
    """A way to solve layers. Hashable, and without state of its own."""

    @property
    def name(self) -> str:
        """Its name in results and messages."""
        ...

    def making(self, spec: HardwareSpec) -> int:
        """Memory that solving a layer takes beside its gains, in units of their size."""
        ...

    def models(
        self, chip: ProgrammedChip, names: Sequence[str], device: torch.device, statistics: Statistics
    ) -> dict[str, LayerModel]:
        """Solve the layers of the chips as far as possible before inputs are known.

        Args:
            chip: one or several chips.
            names: the layers.
            device: where to compute.
            statistics: to be filled with the statistics of each layer.

        Raises:
            SolverError: a layer cannot be solved.
        """
        ...


SolverChoice = str | Solver | Mapping[str, str | Solver]
"""A solver, its name, or either by layer; a layer may be a pattern such as `conv*`, and the first that fits holds."""


def choose_solvers(choice: SolverChoice, known: Mapping[str, Solver], layers: Sequence[str]) -> dict[str, Solver]:
    """The solver of each layer.

    Args:
        choice: the user's choice.
        known: solvers by name.
        layers: names of the chip's layers.

    Raises:
        HratError: an unknown name, a pattern that fits no layer, or a layer that no pattern fits.
    """
    if not isinstance(choice, Mapping):
        solver = _solver(choice, known)
        return dict.fromkeys(layers, solver)
    solvers = {str(pattern): _solver(one, known) for pattern, one in choice.items()}
    chosen: dict[str, Solver] = {}
    for layer in layers:
        fitting = [pattern for pattern in solvers if layer == pattern] or [p for p in solvers if fnmatchcase(layer, p)]
        if not fitting:
            raise HratError(
                f"no solver is given for layer {layer!r}; expected one for each layer: add '*': 'behavioural' for all "
                "others"
            )
        chosen[layer] = solvers[fitting[0]]
    for pattern in solvers:
        if pattern != "*" and not any(fnmatchcase(layer, pattern) for layer in layers):
            raise HratError(f"the chip has no layer {pattern!r}; it has {', '.join(layers)}")
    return chosen


def in_words(choice: SolverChoice) -> str:
    """The choice as text."""
    if isinstance(choice, Mapping):
        return ", ".join(f"{pattern}: {in_words(one)}" for pattern, one in choice.items())
    return choice if isinstance(choice, str) else choice.name


def _solver(choice: str | Solver, known: Mapping[str, Solver]) -> Solver:
    if not isinstance(choice, str):
        if isinstance(choice, type) or not hasattr(choice, "models"):
            meant = f"; did you mean {choice.__name__}()?" if isinstance(choice, type) else ""
            raise HratError(f"expected the name of a solver or a solver, got {choice!r}{meant}")
        return choice
    if choice not in known:
        raise HratError(f"unknown solver {choice!r}; expected one of {', '.join(known)}")
    return known[choice]


def gains(chip: ProgrammedChip, name: str, g_pos_S: Tensor, g_neg_S: Tensor) -> LayerModel:
    """Gains of a layer from conductances on its array, `(chips, groups, word lines, columns)`, S."""
    layer = chip.deployment.layers[name]
    readout = Readout.of(chip.deployment.spec)

    def to_weight(g_S: Tensor, geometry: Geometry) -> Tensor:
        return torch.vmap(geometry.from_matrix)(layer.collected(g_S)).contiguous()

    if readout.inner_amplifiers:
        last, inner = readout.terms(g_pos_S * layer.r_f_ohm, g_neg_S * layer.r_f_ohm)
        return to_weight(last, layer.geometry), to_weight(inner, readout.negatives(layer.geometry))
    (difference_S,) = readout.terms(g_pos_S, g_neg_S)
    return (to_weight(difference_S.mul_(layer.r_f_ohm), layer.geometry),)
