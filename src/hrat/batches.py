"""Batches as loaders yield them: the arguments of a network, and a label. For training, simulation and all else.

* A tensor, or an instance of a dataclass, is the one argument, without a label.
* `(input, label)`, as a tuple or a list: the input is a tensor, a tuple or list of positional arguments, or a dict of
  keyword arguments. `(input,)` is the same without a label.
* `(x1, x2, ..., label)`: several arguments by position, and the label.
* A dict, such as those of Hugging Face: arguments by keyword, and the label in `labels`, `label`, or the entry that is
  named.

Arguments may be nests of tensors and other values themselves; what is nested is passed on as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from hrat.errors import DataError

__all__ = [
    "IGNORED",
    "LABELS",
    "Batch",
    "class_scores",
    "cross_entropy",
    "is_record",
    "plain_value",
    "right_and_counted",
    "split_batch",
]

LABELS = ("labels", "label")
"""Keys of the label in a dict, where none is named."""
IGNORED = -100
"""Label of a position that does not count, as `torch.nn.functional.cross_entropy` has it."""

NO_LABEL = (
    "expected batches with a label: (input, label), or a dict with 'labels' or 'label' in it, or with the entry that "
    "label_key names"
)


@dataclass(frozen=True)
class Batch:
    """Arguments of a network, and a label."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    label: Any = None
    """A tensor or a nest of tensors; None where there is none."""

    def call(self, network: Callable[..., Any]) -> Any:
        """The network's outputs for these arguments."""
        return network(*self.args, **self.kwargs)

    def changed(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with `change` applied to each tensor."""

        def each(leaf: Any) -> Any:
            return change(leaf) if isinstance(leaf, Tensor) else leaf

        args, kwargs, label = tree_map(each, (self.args, self.kwargs, self.label))
        return Batch(args, kwargs, label)

    def labelled(self) -> Batch:
        """The batch itself.

        Raises:
            DataError: it has no label.
        """
        if self.label is None:
            raise DataError(f"{NO_LABEL}; got one of {self.in_words()} alone")
        return self

    @property
    def rows(self) -> int:
        """Number of inputs: the first dimension of the label, or of all arguments.

        Raises:
            DataError: there is no label, and the arguments differ in their first dimension.
        """
        of_label = _first_sizes(self.label)
        sizes = of_label[:1] or sorted(set(_first_sizes((self.args, self.kwargs))))
        if len(sizes) != 1:
            raise DataError(
                f"how many inputs a batch holds is not known: {self.in_words()}; expected a label, or tensors with the "
                "same first dimension"
            )
        return sizes[0]

    def cut(self, *parts: slice) -> list[Batch]:
        """Parts of the batch, by its rows. A tensor of another first dimension, such as a mask, goes with each part.

        Raises:
            DataError: the rows of a tensor are not known.
        """
        rows = self.rows
        leaves, structure = tree_flatten((self.args, self.kwargs, self.label))
        for leaf in leaves:
            if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) != rows and rows in leaf.shape:
                raise DataError(
                    f"a tensor of {tuple(leaf.shape)} in a batch of {rows} inputs does not have them along its first "
                    "dimension, so that the batch cannot be worked on in parts; expected the first dimension of each "
                    "tensor to be the batch, or batches that are worked on as a whole (accumulate=1, one rank)"
                )

        def of_part(leaf: Any, part: slice) -> Any:
            return leaf[part] if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == rows else leaf

        return [Batch(*tree_unflatten([of_part(leaf, part) for leaf in leaves], structure)) for part in parts]

    def in_words(self) -> str:
        """The shapes of the arguments, for messages."""
        named = [*((f"argument {number}", value) for number, value in enumerate(self.args, 1)), *self.kwargs.items()]
        shapes = [
            f"{name} {' and '.join(str(tuple(leaf.shape)) for leaf in tree_leaves(value) if isinstance(leaf, Tensor))}"
            for name, value in named
        ]
        return ", ".join(shapes) or "nothing"


def split_batch(raw: Any, *, label_key: str | None = None, takes: Collection[str] = ()) -> Batch:
    """A batch as a loader yields it, in arguments and label; one that is split already is returned as it is.

    Args:
        raw: the batch.
        label_key: key of the label in a dict; `labels` or `label`, whichever is there, if None.
        takes: names of the network's arguments: a label among them is passed to the network as well.

    Raises:
        DataError: the batch is of another kind, or a dict that lacks the key.
    """
    if isinstance(raw, Batch):
        return raw
    if isinstance(raw, Tensor) or is_record(raw):
        return Batch((raw,))
    if isinstance(raw, Mapping):
        return _split_dict(raw, label_key, takes)
    if not isinstance(raw, tuple | list) or not raw:
        raise DataError(
            f"expected batches of (input, label), inputs alone as a tensor, or a dict of arguments; got "
            f"{'an empty one' if isinstance(raw, tuple | list) else f'a {type(raw).__name__}'}"
        )
    *inputs, label = raw if len(raw) > 1 else (*raw, None)
    only = inputs[0]
    if len(inputs) > 1:
        return Batch(tuple(inputs), {}, label)
    if isinstance(only, Mapping):
        return replace(_split_dict(only, None, only), label=label)
    return Batch(tuple(only) if isinstance(only, tuple | list) else (only,), {}, label)


def _split_dict(raw: Mapping[str, Any], label_key: str | None, takes: Collection[str]) -> Batch:
    if label_key is not None and label_key not in raw:
        raise DataError(f"the batch has no entry '{label_key}', named as its label; it has {', '.join(map(str, raw))}")
    key = next((key for key in ((label_key,) if label_key else LABELS) if key in raw), None)
    kwargs = {str(name): value for name, value in raw.items() if name != key or name in takes}
    return Batch((), kwargs, None if key is None else raw[key])


def is_record(value: Any) -> bool:
    """Whether a value is an instance of a dataclass, and no dict as well."""
    return is_dataclass(value) and not isinstance(value, type | dict)


def plain_value(value: Any) -> Any:
    """A nest of arguments without dataclasses: these become dicts of their fields."""
    if is_record(value):
        return {part.name: plain_value(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, dict):
        return {key: plain_value(part) for key, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return tuple(map(plain_value, value))
    return type(value)(map(plain_value, value)) if type(value) in (tuple, list) else value


def _first_sizes(nested: Any) -> list[int]:
    return [len(leaf) for leaf in tree_leaves(nested) if isinstance(leaf, Tensor) and leaf.ndim]


# ---- outputs and labels ----------------------------------------------------------------------------------------------


def class_scores(out: Any) -> Tensor | None:
    """The class scores among a network's outputs: a tensor itself, or its `logits`; None where it is not known."""
    if isinstance(out, Mapping):
        out = out.get("logits")
    elif not isinstance(out, Tensor):
        out = getattr(out, "logits", None)
    return out if isinstance(out, Tensor) else None


def cross_entropy(out: Any, label: Any, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy of class scores, or the loss that the network returns itself where it does (`loss` of its output).

    Args:
        out: scores `(batch, classes)`, `(batch, tokens, classes)` or `(batch, classes, *positions)`, or an output with
            `logits` of one of these.
        label: class numbers, `(batch,)`, `(batch, tokens)` or `(batch, *positions)`, of which `IGNORED` ones do not
            count; or a probability for each score.
        label_smoothing: of the cross entropy.

    Raises:
        DataError: outputs without class scores, or a label that does not fit them.
    """
    own = out.get("loss") if isinstance(out, Mapping) else getattr(out, "loss", None)
    if isinstance(own, Tensor):
        if label_smoothing:
            raise DataError(
                "label_smoothing acts on hrat's cross entropy, but the network returns a loss of its own; expected 0, "
                "or a loss= of yours"
            )
        return own
    scores, classes = _scores_and_classes(out, label)
    return F.cross_entropy(scores, classes, label_smoothing=label_smoothing, ignore_index=IGNORED)


def right_and_counted(out: Any, label: Any) -> tuple[Tensor, Tensor]:
    """How many of the labels that count the largest scores name, and how many labels count, each `()`, int64.

    Raises:
        DataError: as `cross_entropy`, or labels that are no class numbers.
    """
    scores, classes = _scores_and_classes(out, label)
    if classes.is_floating_point():
        raise DataError("expected class numbers as labels, got probabilities; accuracy needs one class for each")
    counts = classes != IGNORED
    return ((scores.argmax(1) == classes) & counts).sum(), counts.sum()


def _scores_and_classes(out: Any, label: Any) -> tuple[Tensor, Tensor]:
    """Scores with the classes along dimension 1, and labels, as `torch.nn.functional.cross_entropy` takes them."""
    scores = class_scores(out)
    way_out = "give a loss of your own: loss=lambda output, label: ..."
    if scores is None:
        named = f" ({', '.join(map(str, out))})" if isinstance(out, Mapping) else ""
        raise DataError(
            f"the network returns a {type(out).__name__}{named} without 'logits', so which output holds the class "
            f"scores is not known; {way_out}"
        )
    if label is None:
        raise DataError(f"{NO_LABEL}; got none")
    if not isinstance(label, Tensor):
        raise DataError(f"expected a tensor of class numbers as label, got {type(label).__name__}; {way_out}")
    if label.shape == scores.shape and label.is_floating_point():
        return scores, label
    along = [dim for dim in (1, scores.ndim - 1) if dim > 0 and _without(scores, dim) == tuple(label.shape)]
    if label.is_floating_point() or not along:
        raise DataError(
            f"scores of shape {tuple(scores.shape)} and a label of {label.dtype} and shape {tuple(label.shape)} do not "
            "go together in a cross entropy; expected (batch, classes) and (batch,), (batch, tokens, classes) and "
            f"(batch, tokens), or (batch, classes, *positions) and (batch, *positions), labels as whole numbers; or "
            f"{way_out}"
        )
    if len(set(along)) > 1:
        raise DataError(
            f"scores of shape {tuple(scores.shape)} may have their classes along dimension 1 or the last one; {way_out}"
        )
    return scores.movedim(along[0], 1), label.long()


def _without(scores: Tensor, dim: int) -> tuple[int, ...]:
    return tuple(size for at, size in enumerate(scores.shape) if at != dim)
