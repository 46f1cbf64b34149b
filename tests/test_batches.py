"""Batches of every kind that PyTorch users have, in arguments and label."""

from __future__ import annotations

from collections import UserDict
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from hrat.batches import Batch, cross_entropy, right_and_counted, split_batch
from hrat.errors import DataError

X, Y = torch.randn(6, 3), torch.arange(6)


@pytest.mark.parametrize(
    ("raw", "args", "kwargs", "labelled"),
    [
        (X, (X,), {}, False),
        ((X,), (X,), {}, False),
        ([X, Y], (X,), {}, True),
        ((X, Y), (X,), {}, True),
        (([X, X], Y), (X, X), {}, True),
        ((X, X, Y), (X, X), {}, True),
        (({"x": X, "label": X}, Y), (), {"x": X, "label": X}, True),
        ({"x": X, "labels": Y}, (), {"x": X}, True),
        (UserDict({"x": X, "label": Y}), (), {"x": X}, True),
        ({"x": {"a": X, "b": (X, X)}}, (), {"x": {"a": X, "b": (X, X)}}, False),
    ],
)
def test_a_batch_is_arguments_and_a_label(raw: Any, args: Any, kwargs: Any, labelled: bool) -> None:
    batch = split_batch(raw)
    assert (len(batch.args), list(batch.kwargs)) == (len(args), list(kwargs))
    assert all(a is b for a, b in zip(batch.args, args, strict=True))
    assert str(batch.kwargs) == str(kwargs)
    assert batch.label is (Y if labelled else None)
    assert split_batch(batch) is batch
    assert batch.rows == 6


def test_the_label_of_a_dict_may_be_named_and_may_be_an_argument_too() -> None:
    raw = {"x": X, "labels": X, "target": Y}
    batch = split_batch(raw, label_key="target", takes=("x", "labels"))
    assert batch.label is Y
    assert list(batch.kwargs) == ["x", "labels"]
    own = split_batch({"x": X, "labels": Y}, takes=("x", "labels"))
    assert own.label is own.kwargs["labels"] is Y
    with pytest.raises(DataError, match="no entry 'target', named as its label; it has x, labels"):
        split_batch({"x": X, "labels": Y}, label_key="target")


@pytest.mark.parametrize("raw", [(), [], 3, "text", None])
def test_what_is_no_batch_is_refused(raw: Any) -> None:
    with pytest.raises(DataError, match="expected batches of"):
        split_batch(raw)


def test_parts_of_a_batch_share_what_is_the_same_for_all_inputs() -> None:
    mask, number = torch.ones(3, 3), torch.tensor(2.0)
    batch = Batch((X, mask), {"more": {"a": [X]}, "number": number, "mode": "a"}, Y)
    first, second = batch.cut(slice(0, 4), slice(4, 6))
    assert torch.equal(second.args[0], X[4:])
    assert torch.equal(first.kwargs["more"]["a"][0], X[:4])
    assert second.args[1] is mask
    assert (second.kwargs["number"], second.kwargs["mode"]) == (number, "a")
    assert (first.rows, second.label.tolist()) == (4, [4, 5])


def test_parts_are_refused_where_the_rows_are_not_known() -> None:
    with pytest.raises(DataError, match="how many inputs a batch holds is not known: argument 1"):
        _ = Batch((X, torch.ones(5))).rows
    with pytest.raises(DataError, match=r"tensor of \(3, 6\) in a batch of 6 inputs"):
        Batch((X.T,), {}, Y).cut(slice(3))


def test_cross_entropy_of_classes_tokens_and_positions() -> None:
    scores, tokens = torch.randn(4, 5, 3), torch.randint(3, (4, 5))
    tokens[0, 1:] = -100
    expected = F.cross_entropy(scores.flatten(0, 1), tokens.flatten())
    assert torch.equal(cross_entropy(scores, tokens), expected)
    assert torch.equal(cross_entropy({"logits": scores, "states": None}, tokens), expected)
    images, pixels = torch.randn(2, 3, 4, 5), torch.randint(3, (2, 4, 5))
    assert torch.equal(cross_entropy(images, pixels), F.cross_entropy(images, pixels))
    classes = torch.randint(3, (4,))
    smooth = cross_entropy(scores[:, 0], classes, label_smoothing=0.1)
    assert torch.equal(smooth, F.cross_entropy(scores[:, 0], classes, label_smoothing=0.1))
    own = torch.tensor(3.0)
    assert cross_entropy({"loss": own, "logits": scores}, None) is own


def test_right_labels_are_counted_where_they_count() -> None:
    tokens = torch.tensor([[0, 1, -100], [2, -100, -100]])
    scores = F.one_hot(torch.tensor([[0, 0, 0], [2, 0, 0]]), 4).float()
    assert [int(count) for count in right_and_counted(scores, tokens)] == [2, 3]
    assert [int(count) for count in right_and_counted(scores[:, 0], torch.tensor([0, 1]))] == [1, 2]


@pytest.mark.parametrize(
    ("out", "label", "message"),
    [
        (torch.zeros(4, 3, 3), torch.zeros(4, 3, dtype=torch.long), "dimension 1 or the last one; give a loss"),
        (torch.zeros(4, 3), torch.zeros(4), r"torch.float32 and shape \(4,\) do not go together.*loss=lambda"),
        (torch.zeros(4, 3), torch.zeros(4, 2, dtype=torch.long), "do not go together"),
        ({"features": X}, Y, r"a dict \(features\) without 'logits'.*loss=lambda"),
        ((X, X), Y, "a tuple without 'logits'"),
        (X, None, "expected batches with a label"),
        (X, "text", "a tensor of class numbers as label, got str"),
    ],
)
def test_outputs_and_labels_that_do_not_go_together(out: Any, label: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        cross_entropy(out, label)
    with pytest.raises(DataError, match=message):
        right_and_counted(out, label)
