"""What a network does otherwise in training than in eval mode, which is the one that is traced."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from hrat.conversion.describe import describe
from hrat.errors import ConversionError
from hrat.nn import DROPOUTS

__all__ = ["Clone", "clone_for_conversion", "compare_modes"]

KNOWN_SWITCHES = frozenset(("training", "use_input_stats", "train"))
"""Arguments that say whether a function is in training, of functions that become modules which know it themselves."""


class Clone:
    """A copy of the model in eval mode, or the model itself, and what its modes told."""

    def __init__(self, model: nn.Module, *, inplace: bool) -> None:
        """Copy it.

        Args:
            model: the model, which is left as it is unless it is to be converted itself.
            inplace: whether it is.
        """
        self.notes: list[str] = []
        modes = {name: module.training for name, module in model.named_modules()}
        self.module = model if inplace else copy.deepcopy(model)
        before = _kept_weights(self.module)
        self.module.train()
        changed = _changed(self.module, before)
        self._note_frozen(modes)
        self.module.eval()
        changed += [name for name in _changed(self.module, before) if name not in changed]
        if changed:
            self._as_in_training(changed)

    def _note_frozen(self, modes: dict[str, bool]) -> None:
        """Batch norms that are in eval mode while the network trains, by a `train` of its own or as it was given."""
        for name, norm in self.module.named_modules():
            if not isinstance(norm, _BatchNorm | _InstanceNorm) or not norm.track_running_stats:
                continue
            if not norm.training or (modes[""] and not modes[name]):
                norm.stays_frozen = True  # type: ignore[assignment]
                self.notes.append(
                    f"batch norm '{name}' is in eval mode while the network trains: it stays frozen, with its "
                    "running statistics, in training too"
                )

    def _as_in_training(self, changed: list[str]) -> None:
        """A model whose weights depend on its mode, as that of adapters which merge, is traced as it trains."""
        self.module.train()
        for module in self.module.modules():
            if isinstance(module, (_BatchNorm, _InstanceNorm, *DROPOUTS)):
                module.training = False
        self.notes.append(
            f"train() and eval() change {', '.join(changed[:3])}{' ...' if len(changed) > 3 else ''}, as adapters do "
            "that merge into a weight: the network is converted as it is in training, with the adapters apart"
        )


def _kept_weights(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all that a mode may change: parameters within modules that have a `train` of their own."""
    own = [path for path, module in model.named_modules() if type(module).train is not nn.Module.train]
    return {
        name: p.detach().clone()
        for name, p in model.named_parameters()
        if not p.is_meta and any(not path or name.startswith(f"{path}.") for path in own)
    }


def _changed(model: nn.Module, before: dict[str, Tensor]) -> list[str]:
    """Parameters that are no longer what they were."""
    parameters = dict(model.named_parameters())
    return [name for name, kept in before.items() if not torch.equal(parameters[name], kept)]


def clone_for_conversion(model: nn.Module, single: tuple[type[nn.Module], ...], *, inplace: bool = False) -> Clone:
    """A copy of the model whose parameters are its own, in eval mode.

    Args:
        model: the model, which is left as it is.
        single: kinds of layers that alone become a network of one layer.
        inplace: whether to take the model itself.
    """
    clone = Clone(model, inplace=inplace)
    if isinstance(clone.module, single):
        clone.module = nn.Sequential(clone.module).eval()
    return clone


def compare_modes(in_eval: fx.Graph, in_training: fx.Graph) -> list[str]:
    """Notes on what the network computes otherwise in training; functions that normalise are marked.

    A batch norm that is called with `training=False` in both modes is frozen for good.
    """
    pairs = list(zip(in_eval.nodes, in_training.nodes, strict=False))
    places = [{node: index for index, node in enumerate(graph.nodes)} for graph in (in_eval, in_training)]
    notes: list[str] = []
    for one, other in pairs:
        if (one.op, one.target) != (other.op, other.target):
            return [*notes, _another_way(one)]
        mine, theirs = (_plain_arguments(n, place) for n, place in zip((one, other), places, strict=True))
        differing = [name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)]
        unknown = [name for name in differing if not (name in KNOWN_SWITCHES and one.target in _NORMS_AND_DROPOUTS)]
        if unknown:
            notes.append(
                f"{describe(one)} has another {', '.join(map(str, unknown))} in training mode "
                f"({theirs.get(unknown[0])!r:.60}); the prepared network computes what eval mode does "
                f"({mine.get(unknown[0])!r:.60})"
            )
        if differing:
            one.meta["knows_mode"] = True
    if len(in_eval.nodes) != len(in_training.nodes):
        notes.append(_another_way(list(in_eval.nodes)[min(len(pairs), len(in_eval.nodes)) - 1]))
    return notes


def _another_way(node: fx.Node) -> str:
    return (
        f"the network branches on self.training: in training mode it computes something else from {describe(node)} on; "
        "the prepared network computes what eval mode does, in training too"
    )


_NORMS_AND_DROPOUTS = frozenset(
    (
        F.batch_norm,
        F.instance_norm,
        F.dropout,
        F.dropout1d,
        F.dropout2d,
        F.dropout3d,
        torch.dropout,
        F.alpha_dropout,
        F.feature_alpha_dropout,
    )
)


def _plain_arguments(node: fx.Node, places: dict[fx.Node, int]) -> dict[Any, Any]:
    """Arguments by name or position, with numbers in the place of other nodes."""
    names: list[Any] = list(range(len(node.args)))
    if node.op == "call_function":
        try:
            known = list(inspect.signature(node.target).parameters)  # type: ignore[arg-type]
            names = [known[k] if k < len(known) else k for k in names]
        except (TypeError, ValueError):  # built in
            pass
    arguments = dict(zip(names, node.args, strict=True)) | dict(node.kwargs)
    return {name: fx.node.map_arg(value, lambda n: f"node {places[n]}") for name, value in arguments.items()}


def refuse_statistics_of_the_batch(node: fx.Node, training: Any) -> None:
    """Refuse a normalisation by the statistics of the batch in eval mode.

    Raises:
        ConversionError: naming it.
    """
    if training:
        raise ConversionError(
            f"{describe(node)} normalises by the statistics of the batch in eval mode too (training=True), so that "
            "what it does depends on the batch, and no chip can do it; expected training=self.training"
        )
