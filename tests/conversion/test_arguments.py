"""Ways to write one operation, and options of torch's functions: the network computes what it says."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hrat
from laws.checks import assert_law1, assert_same

IDEAL = hrat.load_spec("generic-4bit").ideal()
X = torch.randn(8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Between(nn.Module):
    """A function of one or two signals between linear layers."""

    def __init__(self, function: Callable[..., Any], n: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(n))
        self.last, self.function = nn.Linear(6, 3), function

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(*(layer(x) for layer in self.layers)))  # type: ignore[no-any-return]


def assert_computed(model: nn.Module, x: Any, *others: Any) -> hrat.PreparedModel:
    """Laws 2 and 1, on further inputs too."""
    model = model.double().eval()
    prepared = hrat.prepare(model, IDEAL, x).eval()
    with torch.no_grad():
        for each in (x, *others):
            each = each if isinstance(each, tuple) else (each,)
            assert_same(prepared(*each), model(*each), "prepared", 1e-10)
    assert_law1(model, x, "generic-4bit", n_chips=2)
    return prepared


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.mean(input=torch.stack([x, x]), dim=0),
        lambda x: torch.mean(torch.stack(tensors=[x, x]), axis=0),
        lambda x: x.reshape(shape=(-1, 6)),
        lambda x: torch.permute(input=x, dims=(0, 1)),
        lambda x: torch.pow(x, exponent=2),
        lambda x: torch.cat(tensors=[x[:, :3], x[:, 3:]], dim=1),
        lambda x: torch.where(condition=x > 0, input=x, other=0.5 * x),
        lambda x: x.where(x > 0, 0.5 * x),
        lambda x: torch.softmax(input=x, dim=1, dtype=torch.float64),
        lambda x: F.relu(input=x, inplace=True),
        lambda x: torch.transpose(torch.transpose(input=x, dim0=0, dim1=1), 0, 1),
        lambda x: x.max(dim=1, keepdim=True).values + x.topk(2, 1).values.sum(1, keepdim=True) + x,
        lambda x: torch.linalg.norm(x, ord=2, dim=(-2, -1)) + x,
        lambda x: torch.linalg.norm(x, dim=1, keepdim=True) + x,
        lambda x: torch.div(8 * x, 2, rounding_mode="floor"),
        lambda x: x.view(math.prod(x.shape[:1]), 6),
    ],
)
def test_keywords_and_options_of_torch(function: Callable[..., Any]) -> None:
    assert_computed(Between(function), X, X.flip(0))


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: torch.add(input=x, other=y),
        lambda x, y: torch.sub(x, other=y, alpha=2),
        lambda x, y: torch.mul(x, other=y),
        lambda x, y: torch.matmul(input=x, other=y.t()) @ y,
        lambda x, y: torch.hstack([x[:, :3], y[:, :3]]),
    ],
)
def test_keywords_of_two_signals(function: Callable[..., Any]) -> None:
    assert_computed(Between(function, 2), X)


def test_a_sum_by_keywords_stays_on_voltages() -> None:
    prepared = hrat.prepare(Between(lambda x, y: torch.add(input=x, other=y), 2).double(), IDEAL, X)
    assert not prepared.report.digital_operations


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + torch.meshgrid(torch.arange(x.shape[0]), torch.arange(6), indexing="ij")[1],
        lambda x: torch.zeros_like(x).scatter(1, x.topk(2, 1)[1], 1.0) * x,
        lambda x: torch.zeros_like(x).index_add(0, torch.tensor([0, 2, 2]), x[:3]),
        lambda x: torch.nan_to_num(x.type(torch.float64)),
        lambda x: torch.take_along_dim(x, x.argsort(1), 1),
        lambda x: x * F.mse_loss(x, torch.zeros_like(x)),
        lambda x: x + F.cross_entropy(x, torch.arange(x.shape[0]) % 6),
        lambda x: torch.broadcast_tensors(x, torch.ones(1, 6))[0],
        lambda x: torch.expm1(torch.fliplr(x)) + torch.special.expit(x),
        lambda x: torch.linalg.inv(x.t() @ x + torch.eye(6)) @ torch.ones(6, 1).double() + x[:6],
    ],
)
def test_digital_operations(function: Callable[..., Any]) -> None:
    assert_computed(Between(function), X)


class Unpooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)
        self.pool, self.back = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.back(*self.pool(self.first(x))))  # type: ignore[no-any-return]


class Blurred(nn.Module):
    def __init__(self, *, is_parameter: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)
        kernel = torch.rand(4, 1, 3, 3)
        self.kernel: Tensor
        if is_parameter:
            self.kernel = nn.Parameter(kernel)
        else:
            self.register_buffer("kernel", kernel)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.conv2d(self.first(x), self.kernel / self.kernel.sum(), stride=2, groups=4))  # type: ignore[no-any-return]


IMAGE = torch.randn(3, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("model", "x", "digital"),
    [
        (Unpooled(), IMAGE, ["max_pool2d_with_indices", "max_unpool2d"]),
        (Blurred(), IMAGE, ["conv2d"]),
        (nn.Sequential(nn.Conv2d(3, 2, 1), nn.Unfold(2, stride=2), nn.Conv1d(8, 4, 1)), IMAGE, []),
        (nn.Sequential(nn.Unfold(2, stride=2), nn.Conv1d(12, 4, 1), nn.Fold(8, 2, stride=2)), IMAGE, ["fold"]),
        (nn.Sequential(nn.EmbeddingBag(9, 6), nn.Linear(6, 3)), torch.randint(0, 9, (4, 5)), ["embedding_bag"]),
    ],
)
def test_layers_between_crossbars(model: nn.Module, x: Tensor, digital: list[str]) -> None:
    prepared = assert_computed(model, x)
    assert [row.operation for row in prepared.report.digital_operations if row.operation != "truediv"] == digital


def test_a_kernel_that_is_computed_from_parameters_is_refused() -> None:
    with pytest.raises(hrat.HratError, match="convolution whose weight is computed"):
        hrat.prepare(Blurred(is_parameter=True).double(), IDEAL, IMAGE)


# ---- tables ----------------------------------------------------------------------------------------------------------


def looked_up(**how: Any) -> nn.Module:
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(20, 6, **how), nn.Linear(6, 3)

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.table(ids).mean(1))  # type: ignore[no-any-return]

    return Net().double()


def test_rows_that_are_too_long_are_shortened_where_they_are_read() -> None:
    model = looked_up(max_norm=1.0, norm_type=1.5)
    before = model.table.weight.detach().clone()  # type: ignore[union-attr, operator]
    ids, others = torch.randint(0, 10, (4, 5)), torch.randint(10, 20, (4, 5))
    prepared = hrat.prepare(model, IDEAL, ids).eval()
    with torch.no_grad():
        got = prepared(others)
    assert torch.equal(model.table.weight, before)  # type: ignore[union-attr, arg-type]
    prepared_table = next(value for name, value in prepared.named_parameters() if name.endswith("table.weight"))
    assert torch.equal(prepared_table[10:], before[10:])
    with torch.no_grad():
        assert_same(got, model(others), "other rows", 1e-10)


def test_a_table_that_its_look_ups_change_is_read_nowhere_else() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(9, 6, max_norm=1.0), nn.Linear(6, 9, bias=False)
            self.head.weight = self.table.weight

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.table(ids))  # type: ignore[no-any-return]

    with pytest.raises(hrat.HratError, match=r"'embedding'.*max_norm.*read elsewhere too \(.*head"):
        hrat.prepare(Tied(), IDEAL, torch.randint(0, 9, (4, 5)))


@pytest.mark.parametrize("how", [{"scale_grad_by_freq": True}, {"max_norm": 1.0}, {"padding_idx": 1}])
def test_a_table_learns_as_the_networks_own(how: dict[str, Any]) -> None:
    model, ids = looked_up(**how), torch.tensor([[1, 1, 2], [1, 3, 4]])
    prepared = hrat.prepare(model, IDEAL, ids).eval()
    model(ids).sum().backward()
    prepared(ids).sum().backward()
    table = next(value for name, value in prepared.named_parameters() if name.endswith("table.weight"))
    assert_same(table.grad, model.table.weight.grad, "gradient", 1e-10)  # type: ignore[union-attr]


# ---- number types, files ---------------------------------------------------------------------------------------------


def test_a_cast_to_coarser_numbers_is_digital_and_one_to_the_same_is_none() -> None:
    same = hrat.prepare(Between(lambda x: x.to(torch.float32).float()), IDEAL, X.float())
    assert not same.report.digital_operations
    coarse = hrat.prepare(Between(lambda x: x.bfloat16().float()), IDEAL, X.float())
    assert [(row.operation, row.why) for row in coarse.report.digital_operations] == [
        ("bfloat16", "rounds to a coarser number type")
    ]


def test_softmax_in_another_number_type() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Softmax(-1)).bfloat16()
    wide = Between(lambda x: torch.softmax(x, -1, torch.float32).bfloat16()).bfloat16()
    for each in (model, wide):
        prepared = hrat.prepare(each, IDEAL, X.bfloat16()).eval()
        assert_same(prepared(X.bfloat16()), each(X.bfloat16()), "bfloat16", 0.03)


def test_a_detached_signal_passes_no_gradient_on() -> None:
    model = Between(lambda x: x.detach() * x).double()
    prepared = hrat.prepare(model, IDEAL, X).eval()
    x, y = X.clone().requires_grad_(), X.clone().requires_grad_()
    model(x).sum().backward()
    prepared(y).sum().backward()
    assert_same(y.grad, x.grad, "gradient", 1e-10)


class Levels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> dict[Any, Any]:
        seen = torch.relu(self.first(x.to(memory_format=torch.channels_last)))
        return {2: seen, "last": self.last(seen.mean((2, 3)))}


def test_keys_and_memory_formats_of_a_network_are_in_its_file(tmp_path: Path) -> None:
    x = IMAGE.float()
    chip = hrat.program(hrat.deploy(hrat.prepare(Levels(), "generic-4bit", x)), seed=0)
    again = hrat.load(chip.save(tmp_path / "chip"))
    assert isinstance(again, hrat.ProgrammedChip)
    before, behind = hrat.simulate(chip, x).value, hrat.simulate(again, x).value
    assert list(behind) == [2, "last"]
    assert_same(behind, before, "the same chip", 0.0)
