"""The table of operations: what torch says of each way to write one, and that a file may call all of it."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from hrat.circuit import OPS, arguments_for, bind, lines, op_of, signatures_of, ways_to_write, why_outside
from hrat.circuit.operations import NO_EFFECT, Op
from hrat.circuit.signatures import NO_DEFAULT, Signature
from hrat.errors import HratError

ROOT = Path(__file__).parents[2]
FOREIGN = {"matmul": {"out_dtype"}}
"""Options that a way to write an operation has beyond it, and that are refused."""


def all_lines() -> list[Any]:
    groups = [getattr(lines, name) for name in lines.__all__ if name not in ("Line", "DIGITAL")]
    return [line for group in (*groups, *(group for _, group in lines.DIGITAL)) for line in group]


def test_every_way_to_write_an_operation_stands_in_one_line() -> None:
    counts = Counter(way for _, _, ways in all_lines() for way in set(ways))
    assert not [way for way, count in counts.items() if count > 1]
    assert not [name for name, count in Counter(name for name, _, _ in all_lines()).items() if count > 1]


@pytest.mark.parametrize("name", [op.name for op in OPS.values() if not op.own])
def test_all_ways_to_write_an_operation_have_the_same_options(name: str) -> None:
    op = OPS[name]
    forms = signatures_of(op.function)
    for way in ways_to_write(op):
        for signature in signatures_of(way):
            assert not forms or any(_fits(signature, form, op) for form in forms), f"{way} is not {op.function}"


def _fits(signature: Signature, form: Signature, op: Op) -> bool:
    """Whether each option of one form has the same meaning in another one, and the same default."""
    own = {p.name: p for p in form.parameters}
    places = dict(zip((p.name for p in signature.positional), form.positional, strict=False))
    names = {p.name for p in signature.parameters}
    for p in signature.parameters:
        place = places.get(p.name)
        other = own.get(p.name) or (place if place is not None and place.name not in names else None)
        if other is None:
            if p.name in NO_EFFECT or p.name in FOREIGN.get(op.name, ()) or p.name == "out":
                continue
            return False
        if NO_DEFAULT not in (p.default, other.default) and _plain(p.default) != _plain(other.default):
            return False
    return True


def _plain(default: Any) -> Any:
    """A default in one form: schemas write `[1, 1]` for 1, and `[]` for what is left out."""
    if isinstance(default, list | tuple):
        return _plain(default[0]) if len(set(default)) == 1 else default or None
    return default


def test_arguments_by_name_are_those_of_the_tables_function() -> None:
    x, y = object(), object()
    softmax, floor = OPS["softmax"], {"rounding_mode": "floor"}
    assert arguments_for(softmax, torch.softmax, (x, 1, torch.float64), {}) == ((x, 1), {"dtype": torch.float64})
    assert arguments_for(softmax, "softmax", (x,), {"dim": 1}) == ((x, 1), {})
    assert arguments_for(OPS["where"], "where", (x, y, 0.0), {}) == ((y, x, 0.0), {})
    assert arguments_for(OPS["truediv"], torch.div, (x, 2), floor) == ((x, 2), floor)
    assert arguments_for(OPS["reshape"], "view", (x, 2, 3), {}) == ((x, 2, 3), {})
    assert arguments_for(OPS["permute"], torch.permute, (x, (1, 0)), {}) == ((x, (1, 0)), {})
    with pytest.raises(HratError, match="out_dtype"):
        arguments_for(OPS["matmul"], torch.mm, (x, y), {"out_dtype": torch.float32})
    with pytest.raises(HratError, match="writes its result into another tensor"):
        arguments_for(OPS["exp"], torch.exp, (x,), {"out": y})


def test_a_call_is_bound_to_the_form_that_takes_it() -> None:
    x, y = object(), object()
    bound = bind(torch.mean, (), {"input": x, "axis": 1})
    assert bound is not None
    assert bound[0].call(bound[1]) == ((x, 1), {})
    assert bind(torch.mean, (), {"nothing": 1}) is None
    maximum = bind(torch.max, (x,), {"dim": 0, "keepdim": True})
    assert maximum is not None
    assert maximum[0].returns == ("values", "indices")
    several = bind(torch.meshgrid, (x, y), {"indexing": "ij"})
    assert several is not None
    assert several[0].call(several[1]) == ((x, y), {"indexing": "ij"})


# ---- a file may call all of it ---------------------------------------------------------------------------------------

X = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
PLACES = torch.tensor([[0, 1, 2, 3, 2, 1]] * 4)
ROWS = torch.tensor([0, 2])
IMAGE = torch.rand(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
SQUARE = X @ X.T + torch.eye(4)
POOLED, FOUND = torch.nn.functional.max_pool2d(IMAGE, 2, return_indices=True)
SIGNS = torch.where(X[:, 0] > 0.5, 1.0, -1.0)
USUAL: list[tuple[Any, ...]] = [
    *((X,), (X, X), (X, 2), (X, 0), (SQUARE,), (IMAGE, 2), (IMAGE,), ([X, X],), (X, X, X), (X > 0.5,), (PLACES,)),
    *((PLACES, PLACES), (PLACES, 4), (X[0], X[0]), (X, X[0]), (X, X.T), (X, 0, 1), (X, (6, 4)), (X, [2, 2]), (4, 4)),
    *(((4, 4),), ((4, 4), 1.0), (0.0, 1.0, 5), ([1.0, 2.0],), (7, 3), (X, torch.float64), ("ab,bc->ac", X, X.T)),
]
"""Arguments that most operations take."""
OWN: dict[str, tuple[Any, ...]] = {
    "unflatten": (X, 1, (2, 3)),
    "narrow": (X, 1, 2, 3),
    "index_select": (X, 0, ROWS),
    "unfold": (X, 1, 3, 1),
    "expand": (X[:1], 4, 6),
    "lp_pool2d": (IMAGE, 2, 2),
    "lp_pool3d": (IMAGE, 2, 2),
    "layer_norm": (X, (6,)),
    "rms_norm": (X, (6,)),
    "renorm": (X, 2, 0, 1.0),
    "polygamma": (1, X),
    "bilinear": (X, X, torch.rand(3, 6, 6)),
    "addmm": (torch.zeros(4), X, X.T),
    "baddbmm": (torch.zeros(1, 4, 4), X[None], X.T[None]),
    "addbmm": (torch.zeros(4, 4), X[None], X.T[None]),
    "addmv": (torch.zeros(4), X, X[0]),
    "addr": (torch.zeros(4, 6), X[:, 0], X[0]),
    "cross": (X[:, :3], X[:, :3], 1),
    "linalg_cross": (X[:, :3], X[:, :3]),
    "linalg_multi_dot": ([X, X.T, X],),
    "conv1d": (IMAGE[0], torch.rand(3, 8, 3)),
    "conv2d": (IMAGE, torch.rand(3, 4, 3, 3)),
    "conv3d": (IMAGE[None], torch.rand(3, 2, 1, 1, 1)),
    "conv_transpose1d": (IMAGE[0], torch.rand(8, 3, 3)),
    "conv_transpose2d": (IMAGE, torch.rand(4, 3, 3, 3)),
    "conv_transpose3d": (IMAGE[None], torch.rand(2, 3, 1, 1, 1)),
    "gather": (X, 0, PLACES),
    "take": (X, PLACES),
    "take_along_dim": (X, PLACES, 0),
    "masked_fill": (X, X > 0.5, 0.0),
    "masked_scatter": (X, X > 0.5, X),
    "where": (X > 0.5, X, 0.0),
    "scatter": (X, 0, PLACES, X),
    "scatter_add": (X, 0, PLACES, X),
    "scatter_reduce": (X, 0, PLACES, X, "amax"),
    "index_add": (X, 0, ROWS, X[:2]),
    "index_copy": (X, 0, ROWS, X[:2]),
    "index_fill": (X, 0, ROWS, 0.0),
    "index_reduce": (X, 0, ROWS, X[:2], "mean"),
    "index_put": (X, [ROWS], X[:2]),
    "put": (X, ROWS, X[0, :2]),
    "select_scatter": (X, X[0], 0, 1),
    "diagonal_scatter": (X, X[0, :4]),
    "fold": (torch.rand(2, 16, 16), (8, 8), 2, 1, 0, 2),
    "max_unpool1d": (POOLED[0, 0], torch.arange(0, 8, 2).expand(4, 4), 2),
    "max_unpool2d": (POOLED, FOUND, 2),
    "max_unpool3d": (POOLED[None], torch.arange(2 * 64).view(1, 2, 4, 4, 4), 2),
    "grid_sample": (IMAGE, torch.rand(2, 5, 5, 2), "bilinear", "zeros", False),
    "affine_grid": (torch.rand(2, 2, 3), [2, 4, 5, 5], False),
    "one_hot": (PLACES, 7),
    "nll_loss": (X, PLACES[0, :4]),
    "cosine_embedding_loss": (X, X.flip(0), SIGNS),
    "multi_margin_loss": (X, PLACES[0, :4]),
    "multilabel_margin_loss": (X, PLACES),
    "linalg_solve": (SQUARE, X),
    "linalg_solve_triangular": (SQUARE.triu(), X),
    "linalg_tensorinv": (SQUARE.reshape(4, 2, 2), 1),
    "linalg_tensorsolve": (SQUARE.reshape(4, 2, 2), X[:, 0]),
    "embedding": (PLACES, X, None, 0.5),
    "embedding_rows": (X, PLACES),
    "embedding_bag": (PLACES, X, None, 0.5),
    "new_full": (X, (2, 3), 1.0),
    **{f"number_{name}": (2,) for name in ("sqrt", "exp", "log", "log2", "log10", "floor", "ceil", "trunc", "fabs")},
    **{f"number_{name}": (2,) for name in ("isqrt", "sin", "cos", "tan", "atan")},
    "number_prod": ((2, 3, 4),),
    "type": (X, torch.float64),
    "sum_to_size": (X, 4, 1),
    "hsplit": (X, 2),
    "vsplit": (X, 2),
    "dsplit": (IMAGE, 2),
    "tensor_split": (X, 2),
    "lp_pool1d": (X[None], 2, 2),
    "pool_by_sign": (IMAGE, torch.tensor([1.0, -1.0, 0.0, -2.0]), "max_pool2d", 2),
    "batch_norm": (X, X[0], X[1]),
    "instance_norm": (X[None],),
    "triplet_margin_loss": (X, X.flip(0), X.flip(1)),
}
NAMED: dict[str, dict[str, Any]] = {"linalg_solve_triangular": {"upper": True}}
SKIPPED = {"expect", "assert", "len", "not", "getitem"}


def results(op: Op) -> tuple[tuple[Any, ...], Any]:
    for args in [OWN[op.name]] if op.name in OWN else USUAL:
        try:
            return args, op.function(*tree_map(_copied, args), **NAMED.get(op.name, {}))
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, NotImplementedError, KeyError):
            continue
    raise AssertionError(f"no arguments of this test fit {op.name}: give it some in OWN")


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(op.name for op in OPS.values() if not op.own and op.name not in SKIPPED))
def test_an_operation_keeps_its_arguments_and_its_size_is_known_in_advance(name: str) -> None:
    op = OPS[name]
    args, expected = results(op)
    given = tree_map(_copied, args)
    again = op.function(*given, **NAMED.get(name, {}))
    for got, want in zip(tree_leaves((given, again)), tree_leaves((args, expected)), strict=True):
        assert torch.equal(got, want) if isinstance(got, Tensor) and not got.isnan().any() else type(got) is type(want)
    on_meta = op.function(
        *tree_map(lambda v: v.to("meta") if isinstance(v, Tensor) else v, args), **NAMED.get(name, {})
    )
    shapes = [leaf.shape if isinstance(leaf, Tensor) else None for leaf in tree_leaves(on_meta)]
    assert shapes == [leaf.shape if isinstance(leaf, Tensor) else None for leaf in tree_leaves(expected)]


# ---- what is left out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "why"),
    [
        *((torch.rand_like, "random"), ("uniform_", "random"), (torch.nn.functional.gumbel_softmax, "random")),
        *((torch.nonzero, "another size"), ("item", "another size"), (torch.fft.rfft, "complex")),
        *(("to_sparse", "sparse"), (torch.quantize_per_tensor, "quantised"), ("numpy", "Python objects")),
    ],
)
def test_what_is_not_in_the_table_has_a_reason(target: Any, why: str) -> None:
    assert op_of(target) is None
    assert why in why_outside(target)


def test_the_page_of_operations_is_up_to_date() -> None:
    if f"torch=={torch.__version__.split('+')[0]}" not in (ROOT / "constraints.txt").read_text().splitlines():
        pytest.skip("the page lists what the torch of constraints.txt has")
    spec = importlib.util.spec_from_file_location("list_operations", ROOT / "scripts" / "list_operations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run python scripts/list_operations.py"
