"""Which clamps merge, on graphs of a few nodes."""

from __future__ import annotations

import pytest

from hrat.circuit import (
    ClampSwing,
    Crossbar,
    Dac,
    Input,
    Node,
    OpNode,
    Output,
    Ref,
    TensorKey,
    merged_clamps,
)
from hrat.circuit.merging import holds_values

HEAD = (Input("x", "x"), Dac("dac", Ref("x"), TensorKey("alpha")), Crossbar("a", Ref("dac"), "a"))


def op(name: str, operation: str, source: str, *args: object, **kwargs: object) -> OpNode:
    return OpNode(name, operation, (Ref(source), *args), tuple(kwargs.items()))


def graph(*nodes: Node) -> tuple[Node, ...]:
    return (*HEAD, *nodes, Output("output", Ref(nodes[-1].name)))


def only_layers(node: Node) -> bool:
    return isinstance(node, Crossbar)


CHAIN = graph(op("relu", "relu", "a"), op("pool", "max_pool2d", "relu", 2), Crossbar("b", Ref("pool"), "b"))


def test_an_amplifier_takes_the_relu_and_the_word_lines_behind_a_pooling() -> None:
    for into in (holds_values, only_layers):
        merged = merged_clamps(CHAIN, into)
        assert merged.rectifiers == {"relu": "a"}
        assert "a" in merged.drives_word_lines
        assert merged.within_read == {"a", "b"}  # a is driven by a DAC


def test_where_nothing_takes_clamps_only_a_dac_is_within_the_threshold() -> None:
    merged = merged_clamps(CHAIN, lambda _: False)
    assert (merged.rectifiers, merged.drives_word_lines, merged.within_read) == ({}, frozenset(), {"a"})


def test_a_rectifier_moves_through_what_picks_values_and_not_through_what_computes() -> None:
    for operation, moves in (("max_pool2d", True), ("avg_pool2d", False)):
        nodes = graph(op("pool", operation, "a", 2), op("relu", "relu", "pool"), Crossbar("b", Ref("relu"), "b"))
        merged = merged_clamps(nodes, holds_values)
        assert merged.rectifiers == ({"relu": "a"} if moves else {})
        assert merged.drives_word_lines == ({"a", "relu"} if moves else {"relu"})
        assert "b" in merged.within_read
        assert ("b" in merged_clamps(nodes, only_layers).within_read) == moves


@pytest.mark.parametrize("how", ["kwarg", "argument"])
def test_pooling_that_asks_for_places_is_in_the_way(how: str) -> None:
    pool = (
        op("pool", "max_pool2d", "a", 2, return_indices=True)
        if how == "kwarg"
        else op("pool", "max_pool2d", "a", 2, 2, 0, 1, False, True)
    )
    merged = merged_clamps(graph(pool, op("relu", "relu", "pool"), Crossbar("b", Ref("relu"), "b")), only_layers)
    assert merged.rectifiers == {}
    assert merged.within_read == {"a"}


def test_what_somebody_else_reads_keeps_its_value() -> None:
    add = OpNode("add", "add", (Ref("b"), Ref("relu")))
    merged = merged_clamps(graph(op("relu", "relu", "a"), Crossbar("b", Ref("relu"), "b"), add), holds_values)
    assert merged.rectifiers == {"relu": "a"}
    assert merged.drives_word_lines == frozenset()
    assert merged.within_read == {"a"}


def test_a_reader_in_front_of_the_rectifier_keeps_it() -> None:
    add = OpNode("add", "add", (Ref("relu"), Ref("a")))
    assert merged_clamps(graph(op("relu", "relu", "a"), add), holds_values).rectifiers == {}


def test_sizes_are_no_values() -> None:
    view = OpNode("view", "reshape", (Ref("relu"), Ref("size"), 4))
    nodes = graph(op("relu", "relu", "a"), op("size", "size", "relu", 0), view, Crossbar("b", Ref("view"), "b"))
    assert merged_clamps(nodes, only_layers).within_read == {"a", "b"}
    assert merged_clamps(graph(op("size", "size", "a", 0)), only_layers).drives_word_lines == frozenset()


def test_a_signal_for_several_crossbars_is_held_once() -> None:
    nodes = graph(
        op("relu", "relu", "a"),
        Crossbar("b", Ref("relu"), "b"),
        Crossbar("c", Ref("relu"), "c"),
        OpNode("cat", "cat", ([Ref("b"), Ref("c")],)),
    )
    merged = merged_clamps(nodes, only_layers)
    assert merged.drives_word_lines == {"a"}
    assert merged.within_read == {"a", "b", "c"}


def test_a_sum_is_held_where_its_swing_may_be_narrowed() -> None:
    nodes = graph(
        OpNode("add", "add", (Ref("a"), Ref("a"))),
        ClampSwing("swing", Ref("add")),
        op("relu", "relu", "swing"),
        Crossbar("b", Ref("relu"), "b"),
    )
    merged = merged_clamps(nodes, holds_values)
    assert merged.rectifiers == {"relu": "swing"}
    assert merged.within_read == {"a", "b"}
    assert merged_clamps(nodes, only_layers).within_read == {"a"}


def test_two_rectifiers_in_a_row_are_one() -> None:
    nodes = graph(op("relu", "relu", "a"), op("again", "relu", "relu"))
    assert merged_clamps(nodes, holds_values).rectifiers == {"relu": "a", "again": "a"}


@pytest.mark.parametrize("where", ["a", "relu", "pool"])
def test_no_clamp_moves_past_what_rescales_a_signal(where: str) -> None:
    merged = merged_clamps(CHAIN, only_layers, rescaled={where})
    assert merged.rectifiers == ({} if where == "a" else {"relu": "a"})
    assert merged.drives_word_lines == frozenset()
    assert merged.within_read == {"a"}


def test_an_output_is_not_narrowed() -> None:
    assert merged_clamps(graph(op("relu", "relu", "a")), holds_values).drives_word_lines == frozenset()
