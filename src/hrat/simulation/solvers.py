"""The protocol of solvers of arrays and amplifiers, and the choice of one for each layer.

A solver turns the layers of a chip into models. A model of a layer is either linear, and then as quick as the network
itself,

    gains       what each amplifier multiplies the word lines' voltages by (`hrat.encoding.Readout.terms`), such as
                `(R_f (G+ - G-),)` or `(R_f G+, R_f G-)`: each tensor `(chips, *weight_shape)`, of `Readout.negatives`
                for `G-`, no unit; `G` may be what the devices show through their wires. With them, in a `LinearModel`,
                the errors of amplifiers and readings; a plain tuple of gains gets those of ideal wires

or it is asked for each batch,

    callables   one for each chip: word-line voltages `(images, in, *space)`, V -> amplifier outputs with the bias in
                them, `(images, out, *space)`, V, whose errors are those of `ProgrammedChip.amplifiers`. Where readings
                differ (`hrat.physics.has_reading_errors`), a callable gets the numbers of the reading besides
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from hrat.artifacts import ProgrammedChip
from hrat.encoding import Geometry, LayerErrors, LayerReadout, errors_of_layer
from hrat.errors import HratError
from hrat.physics import Draw, has_amplifier_errors, has_read_noise
from hrat.simulation.nested import changed, stacked
from hrat.spec import HardwareSpec

__all__ = [
    "LayerModel",
    "LinearModel",
    "Solver",
    "SolverChoice",
    "SolverError",
    "Statistics",
    "choose_solvers",
    "in_words",
    "linear_model",
]


class LinearModel(NamedTuple):
    """A layer of one or several chips that is linear in the voltages of its word lines, but for the limits."""

    gains: tuple[Tensor, ...]
    """Of each amplifier, in PyTorch layout; in front of it `(chips,)` where it is of several chips."""
    errors: tuple[LayerErrors, ...] = ()
    """Those of amplifiers and readings, one entry; none where there are none."""
    draw: tuple[Draw, ...] = ()
    """Numbers of one chip's readings, one entry; none where readings do not differ."""
    bias_V: tuple[Tensor, ...] = ()
    """Biases of a chip that has others than the deployment, one entry, `(out,)`, V."""

    def of_chip(self, index: int, draw: tuple[Draw, ...] = ()) -> LinearModel:
        """The layer of one of several chips, with the numbers of its readings."""
        gains, errors, bias_V = changed((self.gains, self.errors, self.bias_V), lambda tensor: tensor[index])
        return LinearModel(gains, errors, draw, bias_V)


LayerModel = LinearModel | tuple[Tensor, ...] | tuple[Callable[..., Tensor], ...]
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


def linear_model(
    chip: ProgrammedChip, name: str, seen_S: tuple[Tensor, Tensor], *, ground_S: Tensor | None = None
) -> LinearModel:
    """A layer from the conductances that its amplifiers see.

    Args:
        chip: one or several chips.
        name: the layer.
        seen_S: of the positive and the negative partners, on the layer's array, `(chips, groups, word lines, columns)`,
            S; they may be overwritten.
        ground_S: current out of each amplifier's input by the voltage at each, `(chips, sums, groups, amplifiers,
            amplifiers)`, S; None: no amplifier acts on another. See `hrat.encoding.errors_of_layer`.
    """
    layer = chip.deployment.layers[name]
    readout = LayerReadout.of(layer.geometry, chip.deployment.spec)
    own = _errors(chip, name, readout, seen_S, ground_S)
    biases_V: tuple[Tensor, ...] = ()
    if chip.layers[name].trim_V is not None:
        of_chips = [chip.bias_V(name, index) for index in range(chip.n_chips)]
        biases_V = (torch.stack([bias_V for bias_V in of_chips if bias_V is not None]).to(seen_S[0]),)

    def to_weight(g_S: Tensor, geometry: Geometry) -> Tensor:
        return torch.vmap(geometry.from_matrix)(layer.collected(g_S)).contiguous()

    g_pos_S, g_neg_S = seen_S
    if readout.amplifiers.inner_amplifiers:
        last, inner = readout.amplifiers.terms(g_pos_S * layer.r_f_ohm, g_neg_S * layer.r_f_ohm)
        return LinearModel((to_weight(last, layer.geometry), to_weight(inner, readout.negatives)), own, (), biases_V)
    (difference_S,) = readout.amplifiers.terms(g_pos_S, g_neg_S)
    return LinearModel((to_weight(difference_S.mul_(layer.r_f_ohm), layer.geometry),), own, (), biases_V)


def _errors(
    chip: ProgrammedChip, name: str, readout: LayerReadout, seen_S: tuple[Tensor, Tensor], ground_S: Tensor | None
) -> tuple[LayerErrors, ...]:
    """Errors of a layer's amplifiers and readings on all chips, one entry; none where there are none."""
    spec, layer = chip.deployment.spec, chip.deployment.layers[name]
    noisy = has_read_noise(spec.device)
    if not noisy and not has_amplifier_errors(spec.periphery):
        return ()

    def weights(g_pos_S: Tensor, g_neg_S: Tensor) -> tuple[Tensor, Tensor]:
        pair = zip((g_pos_S, g_neg_S), (layer.geometry, readout.negatives), strict=True)
        pos, neg = (geometry.from_matrix(layer.collected(g_S)) for g_S, geometry in pair)
        return pos, neg

    of_chips = []
    for index in range(chip.n_chips):
        device, dtype = seen_S[0].device, seen_S[0].dtype
        g_S = chip.layers[name].g_pos_S[index], chip.layers[name].g_neg_S[index]
        squares = weights(*(g.to(device, dtype).square() for g in g_S)) if noisy else None
        errors = errors_of_layer(
            readout,
            spec,
            weights(seen_S[0][index], seen_S[1][index]),
            layer.r_f_ohm,
            chip.amplifiers(name, index),
            has_bias=layer.bias_V is not None,
            squares_S2=squares,
            ground_S=None if ground_S is None else ground_S[index],
        )
        assert errors is not None
        of_chips.append(errors)
    whole: LayerErrors = stacked(of_chips)
    return (whole,)
