"""Choose targets by how devices program on average, and by the known faults of one chip.

`favour_states` chooses, for each weight, the pair of states whose outcome comes nearest to the wanted difference in the
mean square: a difference of three states can be had low or high in the window, and a shifted mean may make a neighbour
the better choice. The same for all chips.

What a network wants of a weight is what its training saw of it: the mean outcome of its pair, by the spec. With a table
that shifts means this is not the difference of the targets.

`remap` is for one chip whose stuck devices are known. Three things make up for them, in this order:

* word lines, and then bit lines, change places: each order is an assignment problem, whose costs are the growth of the
  expected squared error of the weights that would meet stuck devices, and is solved exactly (Hungarian method). The
  other order is held meanwhile.
* the partner of a stuck device takes the state that brings the difference nearest to the wanted one;
* where a weight has several pairs, the others take over what is still missing, the most stuck ones first.

Limits: errors count alike for all weights, whatever their inputs carry, and add up, as if no output saturated.
Wires are left out of account. Lines that change places need a router in front of and behind the array, or the same
order in the layer before. In a two-stage read-out the choice of `favour_states` may raise both currents, of which the
first amplifier has to take one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from hrat.artifacts import DeployedLayer, Deployment, FaultMap, LayerFaults
from hrat.encoding import encode_pair, refuse_shared_negatives
from hrat.errors import ConversionError
from hrat.mapping.choice import PairChoice

__all__ = ["LayerRemap", "RemapReport", "favour_states", "remap"]

ROUNDS = 2
"""Number of alternating assignments of word lines and bit lines."""
PAIRS_AT_ONCE = 2**20
"""Weights on faulty pairs whose errors are worked out together."""


@dataclass(frozen=True, kw_only=True)
class LayerRemap:
    """Result of remapping for one layer. Errors are root mean squares over its weights, relative to the window."""

    stuck: int
    """Stuck devices."""
    changed: int
    """Devices that got another target."""
    error_before: float
    """Expected error with the old targets and the stuck devices."""
    error_after: float
    """Expected error with the new targets and line orders."""


@dataclass(frozen=True, kw_only=True)
class RemapReport:
    """Result of remapping, layer by layer."""

    layers: dict[str, LayerRemap]

    def __str__(self) -> str:
        """A table."""
        lines = [f"  {'layer':<16} {'stuck':>8} {'changed':>9} {'error before':>12} {'after':>8}"]
        for name, layer in self.layers.items():
            lines.append(
                f"  {name:<16} {layer.stuck:>8,} {layer.changed:>9,} {layer.error_before:>12.2%} "
                f"{layer.error_after:>8.2%}"
            )
        return "\n".join(lines)


def favour_states(deployment: Deployment) -> tuple[Deployment, RemapReport]:
    """Choose, for each weight, the pair of states that comes nearest to it on average over chips.

    Args:
        deployment: its spec has a polynomial or a table as programming error; where all states have the same error and
            no shift there is nothing to choose by, and the targets stay.

    Returns:
        The new deployment, and a report of the errors before and after.
    """
    _check(deployment)
    choice = PairChoice(deployment.spec)
    layers, rows = {}, {}
    for name, layer in deployment.layers.items():
        wanted_S = layer.spread(_seen_S(layer, choice))
        g_pos_S, g_neg_S = choice.both(wanted_S)
        # Of equals, the pair that is there stays.
        gained = _error(choice, wanted_S, g_pos_S, g_neg_S) < _error(choice, wanted_S, *_targets(layer)) * (1 - 1e-9)
        new_pos_S = torch.where(gained, g_pos_S, layer.g_pos_S.double())
        new_neg_S = torch.where(gained, g_neg_S, layer.g_neg_S.double())
        layers[name], rows[name] = _finished(layer, layer, new_pos_S, new_neg_S, None, choice)
    return replace(deployment, layers=layers), RemapReport(layers=rows)


def remap(deployment: Deployment, faults: FaultMap, *, assign: bool = True) -> tuple[Deployment, RemapReport]:
    """The deployment for the one chip whose stuck devices are known: program it into that chip and into no other.

    Args:
        deployment: the targets for any chip, with the copies that it is to have.
        faults: faults of the chip, such as `hrat.programming.find_faults(deployment, seed)`.
        assign: whether lines may change places; False where the wiring is fixed, and partners alone make up for faults.
            Lines of layers whose tiles have ADCs of their own never do: the partial sums would be others.

    Returns:
        The new deployment, and a report of the errors before and after.

    Raises:
        ArtifactError: the fault map is that of another chip.
        ConversionError: what was given is no deployment.
    """
    _check(deployment)
    faults.check(deployment)
    choice = PairChoice(deployment.spec)
    layers, rows = {}, {}
    for name, layer in deployment.layers.items():
        layer_faults = faults.layers[name]
        placings = [layer]
        if assign and layer_faults.count and layer.tile_adc_V is None:
            placings.append(_assigned(layer, layer_faults, choice))
        candidates = [
            _finished(layer, placed, *_compensated(placed, layer_faults, choice), layer_faults, choice)
            for placed in placings
        ]
        # The costs of an order do not see how several pairs of a weight help each other: the better one.
        layers[name], rows[name] = min(candidates, key=lambda one: one[1].error_after)
    return replace(deployment, layers=layers), RemapReport(layers=rows)


def _check(deployment: Deployment) -> None:
    if not isinstance(deployment, Deployment):
        raise ConversionError(f"expected the deployment that hrat.deploy returned, got {type(deployment).__name__}")
    refuse_shared_negatives(deployment.spec, "choosing other targets for the pairs of a layer")


def _wanted_S(layer: DeployedLayer) -> Tensor:
    """The difference of targets that the network asks for, `(groups, rows, cols)`, S."""
    if layer.wanted_S is not None:
        return layer.wanted_S.double()
    return layer.collected(layer.g_pos_S.double() - layer.g_neg_S.double()) / layer.copies


def _seen_S(layer: DeployedLayer, choice: PairChoice) -> Tensor:
    """The difference that training saw on average, `(groups, rows, cols)`, S."""
    if layer.wanted_S is None:
        pair = (layer.g_pos_S.double(), layer.g_neg_S.double())
        return layer.collected(choice.outcome(pair[0])[0] - choice.outcome(pair[1])[0]) / layer.copies
    spec = choice.spec
    pos_S, neg_S = encode_pair(layer.wanted_S.double() / spec.device.g_range_S, spec.device)
    return choice.outcome(pos_S)[0] - choice.outcome(neg_S)[0]


def _targets(layer: DeployedLayer) -> tuple[Tensor, Tensor]:
    return layer.g_pos_S.double(), layer.g_neg_S.double()


def _error(choice: PairChoice, wanted_S: Tensor, g_pos_S: Tensor, g_neg_S: Tensor) -> Tensor:
    """Expected squared error of each pair, S^2."""
    (pos, of_pos), (neg, of_neg) = choice.outcome(g_pos_S), choice.outcome(g_neg_S)
    return (wanted_S - (pos - neg)).square() + of_pos + of_neg


def _finished(
    before: DeployedLayer,
    placed: DeployedLayer,
    g_pos_S: Tensor,
    g_neg_S: Tensor,
    faults: LayerFaults | None,
    choice: PairChoice,
) -> tuple[DeployedLayer, LayerRemap]:
    """The layer with its new targets, and what was gained."""
    after = replace(
        placed,
        g_pos_S=g_pos_S.to(before.g_pos_S),
        g_neg_S=g_neg_S.to(before.g_neg_S),
        wanted_S=_wanted_S(before).to(before.g_pos_S),
    )
    changed = int((after.g_pos_S != before.g_pos_S).sum() + (after.g_neg_S != before.g_neg_S).sum())
    wanted = _seen_S(before, choice)
    return after, LayerRemap(
        stuck=0 if faults is None else faults.count,
        changed=changed,
        error_before=_rms_error(before, wanted, faults, choice),
        error_after=_rms_error(after, wanted, faults, choice),
    )


def _rms_error(layer: DeployedLayer, wanted_S: Tensor, faults: LayerFaults | None, choice: PairChoice) -> float:
    """Root of the mean expected squared error of the weights, relative to the window."""
    g_pos_S, g_neg_S = _targets(layer)
    if faults is not None:
        g_pos_S = torch.where(faults.pos, faults.pos_S.double(), g_pos_S)
        g_neg_S = torch.where(faults.neg, faults.neg_S.double(), g_neg_S)
    (pos, of_pos), (neg, of_neg) = (
        choice.expected(g_S, stuck)
        for g_S, stuck in (
            (g_pos_S, None if faults is None else faults.pos),
            (g_neg_S, None if faults is None else faults.neg),
        )
    )
    shift = layer.collected(pos - neg) / layer.copies - wanted_S
    variance = layer.collected(of_pos + of_neg) / layer.copies**2
    return float((shift.square() + variance).mean().sqrt()) / choice.spec.device.g_range_S


# ---- targets ---------------------------------------------------------------------------------------------------------


def _compensated(layer: DeployedLayer, faults: LayerFaults, choice: PairChoice) -> tuple[Tensor, Tensor]:
    """Targets of all devices, `(groups, word lines, bit lines)` each, S."""
    # Pairs of one weight side by side: (copies, groups, rows, bit lines), the most stuck pairs first.
    lines = _lines_of_inputs(layer)
    count = faults.pos.int() + faults.neg.int()
    order = _by_copy(count, lines).sort(dim=0, descending=True, stable=True).indices

    def lined_up(x: Tensor) -> Tensor:
        return _by_copy(x, lines).gather(0, order)

    pos, neg = lined_up(faults.pos), lined_up(faults.neg)
    pos_S, neg_S = lined_up(faults.pos_S.double()), lined_up(faults.neg_S.double())
    old_pos_S, old_neg_S = (lined_up(g_S) for g_S in _targets(layer))
    touched = (pos | neg).any(0)
    if layer.wanted_S is not None:  # the targets are no longer those that were wanted: all are chosen anew
        touched = torch.ones_like(touched)
    total_S = layer.copies * _by_copy(layer.spread(_seen_S(layer, choice)), lines)[0]
    new_pos_S, new_neg_S, reached_S = [], [], torch.zeros_like(total_S)
    for k in range(layer.copies):
        wanted_S = (total_S - reached_S) / (layer.copies - k)
        g_pos_S, g_neg_S = choice.of_pairs(wanted_S, pos[k], pos_S[k], neg[k], neg_S[k])
        g_pos_S, g_neg_S = torch.where(touched, g_pos_S, old_pos_S[k]), torch.where(touched, g_neg_S, old_neg_S[k])
        reached_S += choice.expected(g_pos_S, pos[k])[0] - choice.expected(g_neg_S, neg[k])[0]
        new_pos_S.append(g_pos_S)
        new_neg_S.append(g_neg_S)

    def back(parts: list[Tensor]) -> Tensor:
        stacked = torch.stack(parts)
        return _by_line(torch.empty_like(stacked).scatter_(0, order, stacked), lines)

    return back(new_pos_S), back(new_neg_S)


def _lines_of_inputs(layer: DeployedLayer) -> Tensor:
    """The word lines of each input, `(groups, copies, rows)`."""
    # A stable sort: the copies of an input stay in their order.
    by_input = layer.input_order.sort(dim=-1, stable=True).indices
    return by_input.view(len(by_input), -1, layer.copies).transpose(1, 2)


def _by_copy(x: Tensor, lines: Tensor) -> Tensor:
    """`(groups, word lines, bit lines)` -> `(copies, groups, rows, bit lines)`."""
    return torch.stack([x[group, of_group] for group, of_group in enumerate(lines)], 1)


def _by_line(x: Tensor, lines: Tensor) -> Tensor:
    """The inverse of `_by_copy`."""
    copies, groups, rows, cols = x.shape
    out = x.new_empty(groups, copies * rows, cols)
    for group, of_group in enumerate(lines):
        out[group, of_group] = x[:, group]
    return out


# ---- orders ----------------------------------------------------------------------------------------------------------


def _assigned(layer: DeployedLayer, faults: LayerFaults, choice: PairChoice) -> DeployedLayer:
    """The layer with its lines in places where stuck devices hurt least."""
    wanted_S = _seen_S(layer, choice)  # (groups, rows, cols)
    inputs, outputs = layer.input_order.clone(), layer.output_order.clone()
    for group in range(len(inputs)):
        stuck = tuple(part[group] for part in (faults.pos, faults.pos_S, faults.neg, faults.neg_S))
        of_weights = wanted_S[group]
        for _ in range(ROUNDS):
            # Rows to word lines, with the bit lines as they are.
            candidates = inputs[group]
            columns = of_weights[candidates][:, outputs[group]]
            cost = _costs(columns, stuck, choice)
            inputs[group] = candidates[_places(cost)]
            # Columns to bit lines, with the word lines as they are.
            candidates = outputs[group]
            lines = of_weights[inputs[group]][:, candidates]
            cost = _costs(lines.T, tuple(part.T for part in stuck), choice)
            outputs[group] = candidates[_places(cost)]
    # The targets themselves are found by `_compensated`; here they only move along.
    moved = replace(layer, row_inputs=inputs, col_outputs=outputs)
    g_pos_S, g_neg_S = (
        moved.spread(layer.collected(g_S) / layer.copies).to(g_S) for g_S in (layer.g_pos_S, layer.g_neg_S)
    )
    return replace(moved, g_pos_S=g_pos_S, g_neg_S=g_neg_S)


def _costs(wanted_S: Tensor, stuck: tuple[Tensor, ...], choice: PairChoice) -> Tensor:
    """Growth of the squared error with each candidate on each line, `(candidates, lines)`, S^2.

    Args:
        wanted_S: `(candidates, crossing lines)`, S.
        stuck: masks and conductances of both partners, `(lines, crossing lines)` each.
        choice: what partners can do.
    """
    pos, pos_S, neg, neg_S = stuck
    cost = wanted_S.new_zeros(len(wanted_S), len(pos))
    lines, crossings = (pos | neg).nonzero(as_tuple=True)
    if not len(lines):
        return cost
    for some in torch.arange(len(lines)).split(max(1, PAIRS_AT_ONCE // len(wanted_S))):
        line, crossing = lines[some], crossings[some]
        wanted = wanted_S[:, crossing]  # (candidates, faulty pairs)
        marks = [part[line, crossing].expand_as(wanted) for part in (pos, pos_S.double(), neg, neg_S.double())]
        g_pos_S, g_neg_S = choice.of_pairs(wanted, *marks)
        (p, of_p), (n, of_n) = choice.expected(g_pos_S, marks[0]), choice.expected(g_neg_S, marks[2])
        growth = (wanted - (p - n)).square() + of_p + of_n - _error(choice, wanted, *choice.both(wanted))
        cost.index_add_(1, line, growth)
    return cost


def _places(cost: Tensor) -> Tensor:
    """Which candidate goes to each line, at the least cost in all."""
    candidates, lines = linear_sum_assignment(cost.numpy())
    return torch.from_numpy(candidates[np.argsort(lines)])
