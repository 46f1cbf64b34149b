"""Einsums of a signal with a parameter that are linear layers, written as matrix products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

__all__ = ["einsums_to_products"]


def einsums_to_products(graph: fx.Graph, is_matrix: Callable[[Any], bool]) -> None:
    """Replace `einsum("bi,oi->bo", x, w)` and its like by `x @ w.t()`, with the dimensions of `x` turned where needed.

    That is any equation in which one operand is a matrix of parameters of which one index is summed over together with
    one of the signal's, and the other one is the result's. All others stay what they are.

    Args:
        graph: a traced graph.
        is_matrix: whether a node is a parameter of two dimensions, as it is or transposed.
    """
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target is not torch.einsum or not isinstance(node.args[0], str):
            continue
        operands = node.args[1] if isinstance(node.args[1], list | tuple) else node.args[1:]
        terms, result = _terms(node.args[0])
        if len(operands) != 2 or len(terms) != 2 or sum(map(is_matrix, operands)) != 1:
            continue
        at = 0 if is_matrix(operands[0]) else 1
        matrix, of_matrix = operands[at], terms[at]
        if matrix.op != "get_attr":
            matrix, of_matrix = matrix.all_input_nodes[0], of_matrix[::-1]
        _replace(graph, node, (operands[1 - at], terms[1 - at]), (matrix, of_matrix), result)


def _terms(equation: str) -> tuple[list[list[str]], list[str]]:
    """The indices of each operand and of the result; an ellipsis counts as one."""
    left, arrow, right = equation.replace(" ", "").replace("...", ".").partition("->")
    terms = [list(term) for term in left.split(",")]
    if not arrow:
        letters = [letter for term in terms for letter in term]
        right = "".join(sorted(letter for letter in letters if letters.count(letter) == 1 or letter == "."))
    return terms, list(right)


def _replace(
    graph: fx.Graph, node: fx.Node, signal: tuple[fx.Node, list[str]], matrix: tuple[fx.Node, list[str]], out: list[str]
) -> None:
    (x, of_x), (weight, of_weight) = signal, matrix
    summed = [letter for letter in of_weight if letter in of_x and letter not in out]
    if len(of_weight) != 2 or len(summed) != 1 or "." in of_weight or "." in of_x[1:]:
        return
    kept = [letter for letter in of_x if letter != summed[0]]
    made = of_weight[1 - of_weight.index(summed[0])]
    product = [*kept, made]
    if made in of_x or sorted(product) != sorted(out) or len(set(of_x)) < len(of_x):
        return
    if "." in kept and (out[0] != "." or [letter for letter in out if letter != made] != kept):
        return  # how many dimensions the ellipsis stands for is not known here
    before = set(graph.nodes)
    with graph.inserting_before(node):
        # Counted from the end, in front of which the ellipsis may stand for any number of dimensions.
        if of_x[-1] != summed[0]:
            x = graph.call_function(torch.movedim, (x, of_x.index(summed[0]) - len(of_x), -1))
        if of_weight[0] == made:
            weight = graph.call_method("t", (weight,))
        y = graph.call_function(torch.matmul, (x, weight))
        if [letter for letter in out if letter != made] == kept and product != out:
            y = graph.call_function(torch.movedim, (y, -1, out.index(made) - len(out)))
        elif product != out:
            y = graph.call_function(torch.permute, (y, tuple(product.index(letter) for letter in out)))
    for new in set(graph.nodes) - before:
        new.meta = dict(node.meta)
    node.replace_all_uses_with(y)
    graph.erase_node(node)
