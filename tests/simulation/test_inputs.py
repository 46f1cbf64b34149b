"""Inputs as networks have them: masks without images, switches, number types, infinities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hrat
from hrat.simulation.nested import tensors_of


class Masked(nn.Module):
    """Attention under a mask that is the same for all sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        scores = (self.q(x) @ x.transpose(1, 2)) + mask
        return self.head(scores.softmax(-1) @ x)  # type: ignore[no-any-return]


def chips_of(model: nn.Module, example: Any) -> hrat.ProgrammedChip:
    torch.manual_seed(0)
    return hrat.program(hrat.deploy(hrat.prepare(model, "generic-4bit", example).eval()), chips=2)


def causal(size: int = 5) -> Tensor:
    return torch.full((size, size), -1e4).triu(1)


@pytest.mark.parametrize("n", [3, 5])  # five: the mask looks as if it had images
def test_a_mask_without_images_goes_with_each_of_them(n: int) -> None:
    x = torch.randn(n, 5, 6)
    chips = chips_of(Masked(), (x, causal()))
    whole = hrat.simulate(chips, (x, causal())).value
    for result in (
        hrat.simulate(chips, (x, causal()), limit=2),
        hrat.simulate(chips, {"mask": causal(), "x": x}, limit=2),
        hrat.simulate(chips, [((x, causal()), torch.zeros(n))], limit=2),
    ):
        torch.testing.assert_close(result.value, whole[:, :2])
    small = 2 * whole.numel() * 4 + 1
    torch.testing.assert_close(hrat.simulate(chips, (x, causal()), memory_bytes=small).value, whole)


class Shifted(nn.Module):
    """The mean of a second tensor is added: nothing tells whether it has images."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor, shift: Tensor) -> Tensor:
        return self.head(x) + shift.mean()  # type: ignore[no-any-return]


class WithState(nn.Module):
    """Returns the state of a recurrent layer too, whose first dimension is the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = nn.GRU(6, 4, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.loop(x)  # type: ignore[no-any-return]


def test_a_batch_is_not_cut_where_the_images_are_not_known() -> None:
    x, shift = torch.randn(4, 6), torch.randn(4)
    chips = chips_of(Shifted(), (x, shift))
    assert hrat.simulate(chips, (x, shift)).n_images == 4
    with pytest.raises(hrat.HratError, match=r"whether 'shift' holds the 4 images .*x \(4, 6\), shift \(4,\)"):
        hrat.simulate(chips, (x, shift), limit=2)
    torch.testing.assert_close(
        hrat.simulate(chips, (x, shift[:3]), limit=2).value, hrat.simulate(chips, (x, shift[:3])).value[:, :2]
    )


def test_outputs_without_images_are_not_put_together() -> None:
    x = torch.randn(6, 5, 6)
    chips = chips_of(WithState(), x)
    assert hrat.simulate(chips, x).value[1].shape == (2, 2, 6, 4)
    with pytest.raises(hrat.HratError, match=r"output of shape \(2, 3, 4\) of 3 images"):
        hrat.simulate(chips, [x[:3], x[3:]])


class Timed(nn.Module):
    """Unix times beside a signal; a float of 32 bits holds them to two minutes."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor, time_s: Tensor) -> Tensor:
        since_s = (time_s - time_s[:, :1]).float().sum(1, keepdim=True)
        return self.head(torch.relu(self.body(x)) + since_s)  # type: ignore[no-any-return]


def test_numbers_keep_their_type_up_to_the_dac() -> None:
    x, time_s = torch.randn(8, 6), 1.7e9 + 0.1 * torch.rand(8, 5, dtype=torch.float64)
    model = hrat.prepare(Timed(), "generic-4bit", (x, time_s)).eval()
    chips = hrat.program(hrat.deploy(model))
    value = hrat.simulate(chips, (x, time_s)).value
    with hrat.use_chip(model, chips), torch.no_grad():
        torch.testing.assert_close(model(x, time_s), value[0], rtol=0, atol=1e-6)
    assert torch.equal(hrat.simulate(chips, (x.double(), time_s)).value, value)


class Switched(nn.Module):
    """Arguments that hold no numbers, between others."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 4), nn.Linear(3, 4)

    def forward(self, x: Tensor, mask: Tensor | None, y: Tensor, negative: bool = False, mode: str = "sum") -> Tensor:
        out = self.a(x) + self.b(y) if mode == "sum" else self.a(x)
        return -out if negative else out  # type: ignore[no-any-return]


def test_arguments_without_numbers_are_those_of_the_example(tmp_path: Any) -> None:
    x, y = torch.randn(8, 6), torch.randn(8, 3)
    example = {"x": x, "mask": None, "y": y, "negative": True, "mode": "sum"}
    chips_of(Switched(), example).save(tmp_path / "chips")
    chips = hrat.load(tmp_path / "chips")
    value = hrat.simulate(chips, {"x": x, "y": y}).value
    for given in ((x, None, y, True, "sum"), (x, None, y, True), (x, None, y), example):
        assert torch.equal(hrat.simulate(chips, given).value, value)
    for given in ((x, None, y, False), {**example, "negative": False}):
        with pytest.raises(hrat.HratError, match=r"'negative' is True as in the example input.*got False"):
            hrat.simulate(chips, given)
    for wrong, message in (((x, y), "the network's|'mask' is None"), ((x, None, y, True, "sum", 3), "input.*got 6")):
        with pytest.raises(hrat.HratError, match=message):
            hrat.simulate(chips, wrong)
    with pytest.raises(hrat.HratError, match=r"takes 1 input\(s\) .*got 2"):
        hrat.simulate(chips_of(nn.Linear(6, 3), x), (x, True))


def test_what_the_example_left_out_may_be_none() -> None:
    class Shifting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(6, 4)

        def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
            return self.body(x if shift is None else x + shift)  # type: ignore[no-any-return]

    x = torch.randn(8, 6)
    chips = chips_of(Shifting(), x)
    value = hrat.simulate(chips, x).value
    for given in ((x, None), {"x": x, "shift": None}):
        assert torch.equal(hrat.simulate(chips, given).value, value)
    with pytest.raises(hrat.HratError, match="no input 'shift'"):
        hrat.simulate(chips, (x, x))


@dataclass
class Signals:
    """Two signals as one argument."""

    x: Tensor
    y: Tensor


def test_a_dataclass_is_an_argument() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 4), nn.Linear(3, 4)

        def forward(self, signals: Signals) -> Tensor:
            return self.a(signals.x) + self.b(signals.y)  # type: ignore[no-any-return]

    signals = Signals(torch.randn(8, 6), torch.randn(8, 3))
    chips = chips_of(Both(), (signals,))
    value = hrat.simulate(chips, (signals,)).value
    labels = torch.zeros(8).long()
    for data in ([signals], [(signals, labels)], {"signals": signals}):
        assert torch.equal(hrat.simulate(chips, data).value, value)
    torch.testing.assert_close(hrat.simulate(chips, [(signals, labels)], limit=3).value, value[:, :3])


def test_infinities_are_numbers_but_for_a_dac() -> None:
    x = torch.randn(3, 5, 6)
    chips = chips_of(Masked(), (x, causal()))
    minus_infinity = causal().masked_fill(causal() < 0, -torch.inf)
    torch.testing.assert_close(
        hrat.simulate(chips, (x, minus_infinity)).value, hrat.simulate(chips, (x, causal())).value
    )
    with pytest.raises(ValueError, match="'mask' has values that are not finite"):
        hrat.simulate(chips, (x, minus_infinity * torch.nan))
    with pytest.raises(ValueError, match="'x' has values that are not finite"):
        hrat.simulate(chips, (x / 0, causal()))
    behind_a_flatten = chips_of(nn.Sequential(nn.Flatten(), nn.Linear(30, 2)), x)
    with pytest.raises(ValueError, match="'input' has values that are not finite"):
        hrat.simulate(behind_a_flatten, x / 0)


def test_tokens_have_an_accuracy_each() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"logits": self.body(x)}

    x = torch.randn(8, 5, 6)
    chips = chips_of(Tagger(), x)
    scores = hrat.simulate(chips, x).value["logits"]
    tags = scores[0].argmax(-1)
    tags[0] = -100
    tags[1, 0] = (tags[1, 0] + 1) % 4
    result = hrat.simulate(chips, [{"x": x, "labels": tags}])
    assert result.accuracies is not None
    assert result.accuracies[0] == pytest.approx(34 / 35)
    assert len(tensors_of(result.value)) == 1
    assert hrat.simulate(chips, [{"x": x, "labels": tags[:, :3]}]).accuracies is None
