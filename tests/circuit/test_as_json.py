"""Values of a graph as JSON and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from hrat.circuit import OpNode, Output, decode_node, encode_node
from hrat.errors import ArtifactError


def through_json(value: Any) -> Any:
    node = json.loads(json.dumps(encode_node(OpNode("n", "tensor", (value,)))))
    again = decode_node(node["name"], node["op"], node["args"], node["kwargs"])
    assert isinstance(again, OpNode)
    return again.args[0]


@pytest.mark.parametrize(
    "value",
    [
        *(torch.channels_last, torch.channels_last_3d, torch.contiguous_format, torch.preserve_format),
        *({2: 0.5, 3: [1, None]}, {"a": 1, 1: "a", -4: {}}, {"a": {0: "x"}}, {}, {"a": (1, 2)}),
    ],
)
def test_memory_formats_and_keys_come_back(value: Any) -> None:
    again = through_json(value)
    assert again == value
    assert not isinstance(value, dict) or list(map(type, again)) == list(map(type, value))


def test_dicts_of_the_older_form_are_read() -> None:
    node = decode_node("out", "output", [{"dict": {"2": 1, "a": {"tuple": [1]}}}], {})
    assert isinstance(node, Output)
    assert node.value == {"2": 1, "a": (1,)}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"memory_format": "__name__"}, "is no memory_format"),
        ({"memory_format": 3}, "is no memory_format"),
        ({"items": [[1.5, 1]]}, "texts or whole numbers as keys"),
        ({"items": [[1, 1], [1, 2]]}, "each once"),
        ({"items": [[[1], 1]]}, "texts or whole numbers as keys"),
        ({"items": 3}, "is no items"),
    ],
)
def test_what_is_none_is_refused(value: Any, words: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        decode_node("n", "tensor", [value], {})


def test_other_keys_are_not_written() -> None:
    with pytest.raises(ArtifactError, match="expected texts or whole numbers"):
        encode_node(OpNode("n", "tensor", ({(1, 2): 1},)))
