"""Networks as people write them: changes in place, sizes as numbers, names and arguments of any kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hrat
from hrat.errors import ConversionError

IDEAL = hrat.load_spec("generic-4bit").ideal()
TOKENS = torch.randn(4, 5, 6)


class _Net(nn.Module):
    """Two linear layers around steps that are given."""

    def __init__(self, steps: Callable[..., Any]) -> None:
        super().__init__()
        self.first, self.last, self.steps = nn.Linear(6, 6), nn.Linear(6, 3), steps

    def forward(self, x: Tensor, *others: Any) -> Any:
        return self.last(self.steps(self.first(x), *others))


def same_as_the_original(model: nn.Module, example: tuple[Any, ...], *others: tuple[Any, ...]) -> hrat.PreparedModel:
    """The prepared model, whose outputs are the original's on the example and on other inputs."""
    model = model.eval()
    prepared = hrat.prepare(model, IDEAL, example, check=False).eval()
    with torch.no_grad():
        for inputs in (example, *others):
            torch.testing.assert_close(prepared(*inputs), model(*inputs), rtol=1e-5, atol=2e-5)
    return prepared


# ---- in place


def mask_of_both(h: Tensor, padding: Tensor) -> Tensor:
    causal = torch.ones(h.shape[1], h.shape[1], dtype=torch.bool).tril()
    both = causal & padding.unsqueeze(1)
    scores = h @ h.transpose(1, 2)
    return scores.masked_fill(~both, -10.0).softmax(-1) @ h + scores.masked_fill(~causal, -10.0).softmax(-1) @ h


def sum_of_an_alias(h: Tensor) -> Tensor:
    before = h
    h += 1.0
    return h * before


def product_in_place(h: Tensor, mask: Tensor) -> Tensor:
    keep = torch.ones(5, 5).mul_(mask)
    return keep @ h


def shifted(h: Tensor) -> Tensor:
    out = torch.zeros_like(h)
    out[:, 1:, :2] = h[:, :-1, :2]
    out[:, :, 2:] = h[:, :, 2:]
    return out


def part_in_place(h: Tensor) -> Tensor:
    h = h + 0.0
    h[:, :2] += 1.0
    h[:, 0].mul_(3.0)
    return h.tanh_()


def rounded_in_place(h: Tensor) -> Tensor:
    counts = h[..., 0].round().to(torch.int64)
    counts += 1
    return h * counts.unsqueeze(-1)


def constant_that_changes(h: Tensor) -> Tensor:
    position = torch.zeros(5, 1)
    first = h + position
    position += 1
    return first * (h + position)


IN_PLACE = [
    (mask_of_both, (torch.ones(4, 5, dtype=torch.bool),), (torch.arange(5).repeat(4, 1) < 3,)),
    (sum_of_an_alias, (), ()),
    (product_in_place, (torch.ones(5, 5).tril(),), (torch.ones(5, 5).triu(),)),
    (shifted, (), ()),
    (part_in_place, (), ()),
    (rounded_in_place, (), ()),
    (constant_that_changes, (), ()),
]


@pytest.mark.parametrize(("steps", "example", "other"), IN_PLACE, ids=[steps.__name__ for steps, *_ in IN_PLACE])
def test_what_changes_in_place_is_read_as_in_pytorch(
    steps: Callable[..., Any], example: tuple[Any, ...], other: tuple[Any, ...]
) -> None:
    same_as_the_original(_Net(steps), (TOKENS, *example), (2 * TOKENS, *other))


def test_a_change_through_a_view_that_no_index_made_is_refused_with_its_line() -> None:
    def steps(h: Tensor) -> Tensor:
        turned = h.transpose(1, 2)
        turned += 1.0
        return h

    with pytest.raises(ConversionError, match=r"test_tracing.py.*in place.*through another view"):
        hrat.prepare(_Net(steps), IDEAL, TOKENS)


class _Masked(nn.Module):
    """A masked layer, written in three ways that all change its weight in the forward pass."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.layer, self.way = nn.Linear(6, 3), way

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "assigned":
            self.layer.weight.data = self.layer.weight * 0.5
        elif self.way == "data":
            self.layer.weight.data.mul_(0.5)
        else:
            with torch.no_grad():
                self.layer.weight.mul_(0.5)
        return self.layer(x)


@pytest.mark.parametrize("way", ["assigned", "data", "without gradients"])
def test_weights_that_the_forward_pass_changes_are_refused(way: str) -> None:
    with pytest.raises(ConversionError, match=r"multiply by a mask in forward"):
        hrat.prepare(_Masked(way), IDEAL, torch.randn(4, 6))


# ---- sizes, numbers and types


FREE_BATCH: list[Callable[[Tensor], Tensor]] = [
    lambda h: h.view(len(h), 30) @ torch.eye(30) @ torch.ones(30, 6),
    lambda h: h + torch.eye(6)[:5].repeat(h.size(0), 1, 1),
    lambda h: h / torch.sqrt(torch.tensor(h.size(-1), dtype=torch.float)),
    lambda h: h / np.sqrt(6) * np.float32(0.5),
    lambda h: np.float64(0.5) * h.view(-1, np.prod((5,)), 6),
    lambda h: torch.cat(h.chunk(2, -1), 0).view(-1, 5, 6),
    lambda h: torch.stack(h.split(3, -1)).sum(0).repeat(1, 1, 2),
    lambda h: h.max(dim=-1, keepdim=True).values * h,
    lambda h: sum([h] if isinstance(h, Tensor) else h) if torch.is_tensor(h) else torch.zeros(0),
]


@pytest.mark.parametrize("steps", FREE_BATCH, ids=range(len(FREE_BATCH)))
def test_the_batch_stays_free(steps: Callable[[Tensor], Tensor]) -> None:
    same_as_the_original(_Net(steps), (TOKENS,), (TOKENS[:3],), (TOKENS[:1],))


def test_a_branch_on_the_kind_of_numbers_is_checked() -> None:
    def steps(h: Tensor, image: Tensor) -> Tensor:
        return h + (image / 255 if image.dtype == torch.uint8 else image)

    bytes_ = torch.randint(0, 256, (4, 5, 6), dtype=torch.uint8)
    prepared = same_as_the_original(_Net(steps), (TOKENS, bytes_))
    with pytest.raises(hrat.HratError, match=r"prepared for whole numbers at test_tracing.py:\d+, got real numbers"):
        prepared(TOKENS, bytes_.float())


def test_a_branch_on_the_number_of_dimensions_is_checked() -> None:
    def steps(h: Tensor) -> Tensor:
        return h.mean(1) if h.dim() == 3 else h

    prepared = same_as_the_original(_Net(steps), (TOKENS,))
    with pytest.raises(hrat.HratError, match=r"expected 3, got 2"):
        prepared(TOKENS[0])


class _Remembers(nn.Module):
    """A network that takes a fact of its first input, in a way that tracing cannot see."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last, self.mean = nn.Linear(6, 6), nn.Linear(6, 3), 0.0

    def forward(self, x: Tensor) -> Tensor:
        if type(x) is Tensor:
            self.mean = float(x.mean())
        return self.last(self.layer(x) + self.mean)


def test_what_was_taken_from_the_example_is_found_on_another_input() -> None:
    with pytest.raises(ConversionError, match=r"differs from the original.*first layer whose .* at node 'last'"):
        hrat.prepare(_Remembers(), IDEAL, torch.randn(4, 6))
    hrat.prepare(_Remembers(), IDEAL, torch.randn(4, 6), check=False)


# ---- names


class _Named(nn.Module):
    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names
        for name in names:
            self.add_module(name, nn.Linear(6, 6))
        self.scale = nn.Parameter(torch.rand(6))
        self.register_buffer("scales", torch.rand(6))

    def forward(self, x: Tensor) -> Tensor:
        for name in self.names:
            x = torch.sigmoid(getattr(self, name)(x)) * self.scale + self.scales
        return x


@pytest.mark.parametrize(
    "names", [("code", "graph"), ("x_dac", "x_dac_adc", "scales_x_dac"), ("a", "a_adc", "mul_dac")]
)
def test_any_name_will_do(names: tuple[str, ...]) -> None:
    prepared = same_as_the_original(_Named(*names), (TOKENS,))
    assert len(prepared.report.layers) == len(names)


def test_names_that_differ_in_a_dot_have_scales_of_their_own() -> None:
    class Dotted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block_0, self.block = nn.Linear(6, 5), nn.Sequential(nn.Linear(5, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.block(torch.relu(self.block_0(x)))

    assert len(same_as_the_original(Dotted(), (TOKENS,)).report.scales) == 3


# ---- arguments and outputs


class _Switched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({"p": nn.Linear(6, 3), "q": nn.Linear(6, 2)})

    def forward(self, x: Tensor, mask: Tensor | None = None, task: str = "p") -> Tensor:
        return self.heads[task](x if mask is None else x * mask)


def test_switches_are_given_as_the_network_takes_them() -> None:
    model = _Switched()
    same_as_the_original(model, (TOKENS, None), (TOKENS, None))
    prepared = same_as_the_original(model, (TOKENS, None, "q"))
    torch.testing.assert_close(prepared(TOKENS, task="q"), model(TOKENS, task="q"), rtol=1e-5, atol=2e-5)
    with pytest.raises(ConversionError, match=r"'task' is 'q' as in the example input.*got 'p'"):
        prepared(TOKENS, None, "p")
    with pytest.raises(ConversionError, match=r"'mask' is None as in the example.*got a tensor"):
        prepared(TOKENS, TOKENS)
    with pytest.raises(ConversionError, match=r"argument 'x', which is missing"):
        prepared(task="q")
    without = hrat.prepare(model, IDEAL, TOKENS)
    with pytest.raises(ConversionError, match=r"prepared without the argument 'mask'"):
        without(TOKENS, mask=TOKENS)


@dataclasses.dataclass
class _Graph:
    x: Tensor
    index: Tensor
    kind: str = "directed"


class _Answer(NamedTuple):
    logits: Tensor
    features: list[Tensor]


@dataclasses.dataclass
class _Record:
    answer: _Answer
    levels: dict[int, Tensor]


class _Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, data: _Graph, extra: dict[str, Any]) -> _Record:
        h = self.layer(data.x)[data.index]
        for part in extra["parts"]:
            h = h + part
        if extra.get("scale") is not None:
            h = h * extra["scale"]
        return _Record(_Answer(h, [h + 1, h + 2]), {2: h, 3: h * h})


def test_dataclasses_and_nests_come_and_go_as_they_are() -> None:
    model = _Nested()
    nest = {"parts": (TOKENS[0], TOKENS[1]), "scale": None}
    example = _Graph(TOKENS, torch.tensor([0, 2])), nest
    prepared = hrat.prepare(model, IDEAL, example, check=False).eval()
    other = _Graph(2 * TOKENS, torch.tensor([3, 1]))
    got, want = prepared(other, nest), model(other, nest)
    assert (type(got), type(got.answer), list(got.levels)) == (_Record, _Answer, [2, 3])
    torch.testing.assert_close(got.answer.features[1], want.answer.features[1], rtol=1e-5, atol=2e-5)
    with pytest.raises(ConversionError, match=r"'extra\['scale'\]' is None"):
        prepared(example[0], nest | {"scale": TOKENS[0]})
    with pytest.raises(ConversionError, match=r"'extra\['parts'\]' is a list of 2.*got a tuple of 1"):
        prepared(example[0], nest | {"parts": (TOKENS[0],)})


def test_an_object_that_hides_tensors_is_refused_by_name() -> None:
    class Batch:
        def __init__(self) -> None:
            self.x = TOKENS

    with pytest.raises(ConversionError, match=r"'batch' is a Batch that holds tensors"):
        hrat.prepare(_TakesABatch(), IDEAL, (Batch(),))


class _TakesABatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, batch: Any) -> Tensor:
        return self.layer(batch.x)


def test_a_layer_is_called_by_keyword_and_recurrences_keep_their_attributes() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.LSTM(6, 4, batch_first=True, bidirectional=True), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            self.rnn.flatten_parameters()
            start = torch.zeros((2 if self.rnn.bidirectional else 1) * self.rnn.num_layers, x.size(0), 4)
            return self.head(input=self.rnn(x, (start, start))[0])

    same_as_the_original(Net(), (TOKENS,), (TOKENS[:2],))


@torch.fx.wrap
def _helper(x: Tensor, weight: Tensor) -> Tensor:
    return F.linear(x, weight)


class _Helped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 6))

    def forward(self, x: Tensor) -> Tensor:
        return _helper(x, self.weight)


def test_functions_behind_fx_wrap_are_followed() -> None:
    assert len(same_as_the_original(_Helped(), (TOKENS,)).report.layers) == 1


def test_the_model_itself_can_be_converted_without_a_copy() -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)).train()
    with torch.no_grad():
        want = model.eval()(TOKENS[0])
    weight = model.train()[0].weight
    prepared = hrat.prepare(model, IDEAL, TOKENS[0], inplace=True)
    assert prepared.training
    assert any(parameter is weight for parameter in prepared.parameters())
    torch.testing.assert_close(prepared.eval()(TOKENS[0]), want, rtol=0, atol=2e-5)
