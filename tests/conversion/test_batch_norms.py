"""Pass 1: which linear operation takes which batch norm, and that the graph shows it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hrat
from conversion.small import SPEC, Small
from hrat.conversion.batch_norms import wrap_digital_batch_norms
from hrat.conversion.domains import digital_rows
from hrat.errors import ConversionError
from hrat.nn import DigitalBatchNorm, restrictions
from laws.checks import assert_law1
from laws.networks import FrozenBatchNorm2d

IMAGE = torch.randn(3, 2, 5, 5)


def taken(small: Small) -> list[tuple[str, str | None, str | None]]:
    """(operation, batch norm behind it, batch norm in front of it), modules by their paths."""
    targets = [(block.node, block.after, block.before) for block in small.blocks()]
    return [
        (str(node.target), after and str(after.target), before and str(before.target))
        for node, after, before in targets
    ]


def test_a_batch_norm_behind_goes_and_its_readers_read_the_operation() -> None:
    small = Small(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), IMAGE)
    assert taken(small) == [("0", "1", None)]
    assert small.kinds() == ["Conv2d", "relu"]
    assert [node.name for node in small.node("relu").all_input_nodes] == ["_0"]


def test_a_batch_norm_in_front_goes_and_the_operation_reads_what_it_read() -> None:
    small = Small(nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3)), IMAGE)
    assert taken(small) == [("0", None, None), ("3", None, "2")]
    assert small.kinds() == ["Conv2d", "relu", "Conv2d"]
    assert [node.name for node in small.node("_3").all_input_nodes] == ["relu"]


@pytest.mark.parametrize("layout", [nn.Identity(), nn.ZeroPad2d(1), nn.ReLU()])
def test_in_front_of_the_first_operation_it_stays_digital(layout: nn.Module) -> None:
    small = Small(nn.Sequential(layout, nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)), IMAGE)
    assert taken(small) == [("2", "3", None)]
    assert small.kinds()[-2:] == ["BatchNorm2d", "Conv2d"]
    assert small.network.notes == []


def test_between_two_operations_it_belongs_to_the_one_in_front() -> None:
    small = Small(nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1)), IMAGE)
    assert taken(small) == [("0", "1", None), ("2", None, None)]


def test_an_operation_may_take_one_on_either_side() -> None:
    behind = (nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    small = Small(nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), *behind), IMAGE)
    assert taken(small) == [("0", None, None), ("3", "4", "2")]
    assert small.kinds() == ["Conv2d", "relu", "Conv2d"]


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect"])
def test_zero_padding_keeps_the_one_in_front_digital(padding_mode: str) -> None:
    convolution = nn.Conv2d(4, 4, 3, padding=1, padding_mode=padding_mode)
    small = Small(nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.BatchNorm2d(4), convolution), IMAGE)
    folds = padding_mode != "zeros"
    assert taken(small) == [("0", None, None), ("3", None, "2" if folds else None)]
    assert small.kinds()[2:] == (["Conv2d"] if folds else ["BatchNorm2d", "Conv2d"])
    assert any("zero padding" in note for note in small.network.notes) != folds


class ReadTwice(nn.Module):
    """What the convolution, or the batch norm behind it, yields is read a second time."""

    def __init__(self, of_norm: bool) -> None:
        super().__init__()
        self.conv, self.norm, self.of_norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), of_norm

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y = self.norm(x)
        return torch.cat([y, y if self.of_norm else x])


@pytest.mark.parametrize("of_norm", [True, False])
def test_an_output_that_is_read_without_the_batch_norm_keeps_it_apart(of_norm: bool) -> None:
    small = Small(ReadTwice(of_norm), IMAGE)
    assert taken(small) == [("conv", "norm" if of_norm else None, None)]


class InFrontOfTwo(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.a, self.b = nn.BatchNorm2d(2), nn.Conv2d(2, 3, 1), nn.Conv2d(2, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.a(x) + self.b(x)


def test_a_batch_norm_in_front_of_two_operations_belongs_to_neither() -> None:
    small = Small(InFrontOfTwo(), IMAGE)
    assert taken(small) == [("a", None, None), ("b", None, None)]


@pytest.mark.parametrize("behind", [True, False])
def test_of_a_linear_layer_over_positions_dimension_1_is_no_channel(behind: bool) -> None:
    norm, linear = nn.BatchNorm1d(5), nn.Linear(4, 4)
    small = Small(nn.Sequential(*((linear, norm) if behind else (norm, linear))), torch.randn(3, 5, 4))
    assert [block[1:] for block in taken(small)] == [(None, None)]
    assert "BatchNorm1d" in small.kinds()


def test_what_stays_is_wrapped_so_that_it_freezes_with_the_fused_ones() -> None:
    small = Small(nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)), IMAGE)
    want = small.values()
    small.blocks()
    norm = small.network.module.get_submodule("2")
    wrap_digital_batch_norms(small.network)
    wrapped = small.network.module.get_submodule("2")
    assert isinstance(wrapped, DigitalBatchNorm)
    assert wrapped.batch_norm is norm
    assert torch.equal(small.values(), want)


def test_one_without_statistics_is_refused_wherever_it_stands() -> None:
    norm = nn.BatchNorm2d(2, track_running_stats=False)
    for order in ((nn.Conv2d(2, 2, 1), norm), (norm, nn.Conv2d(2, 2, 1)), (nn.Conv2d(2, 2, 1), nn.GELU(), norm)):
        with pytest.raises(ConversionError, match="keeps no running statistics"):
            Small(nn.Sequential(*order), IMAGE).blocks()


@pytest.mark.parametrize("behind", [True, False])
def test_without_a_batch_dimension_1_holds_positions(behind: bool) -> None:
    convolution, norm = nn.Conv1d(4, 4, 3, padding=1, padding_mode="circular"), nn.BatchNorm1d(4)
    parts = (convolution, norm) if behind else (nn.Conv1d(4, 4, 1), nn.ReLU(), norm, convolution)
    small = Small(nn.Sequential(*parts), torch.randn(4, 4))
    assert all(block[1:] == (None, None) for block in taken(small))
    assert "BatchNorm1d" in small.kinds()


def test_a_batch_norm_that_moves_frozen_weights_is_named() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2))
    model[0].requires_grad_(False)
    small = Small(model, IMAGE)
    small.blocks()
    (note,) = small.network.notes
    assert "weights of '0' are frozen" in note
    assert "'1'" in note


class _DetrFrozenBatchNorm2d(FrozenBatchNorm2d):
    """Which has its epsilon in the forward pass alone."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        del self.eps

    def forward(self, x: Tensor) -> Tensor:
        w, b, mean, var = (
            p.reshape(1, -1, 1, 1) for p in (self.weight, self.bias, self.running_mean, self.running_var)
        )
        scale = w * (var + 1e-5).rsqrt()
        return x * scale + (b - mean * scale)


class _FrozenBatchNormAct2d(FrozenBatchNorm2d):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(super().forward(x))


class _BranchingFrozenBatchNorm2d(FrozenBatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            return super().forward(x)
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )


class _Functional(FrozenBatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


@pytest.mark.parametrize(
    "kind", [FrozenBatchNorm2d, _DetrFrozenBatchNorm2d, _FrozenBatchNormAct2d, _BranchingFrozenBatchNorm2d, _Functional]
)
def test_a_batch_norm_of_buffers_fuses_and_never_moves(kind: type[nn.Module]) -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), kind(4), nn.ReLU(), nn.Conv2d(4, 3, 1)).double()
    x = IMAGE.double()
    prepared = hrat.prepare(model, SPEC, x).train()
    assert prepared.report.digital_operations == []
    assert len(prepared.report.layers) == 2
    before = {name: buffer.clone() for name, buffer in prepared.named_buffers()}
    prepared(x).sum().backward()
    assert all(torch.equal(buffer, before[name]) for name, buffer in prepared.named_buffers())
    with torch.no_grad(), restrictions(prepared, SPEC.ideal()):
        torch.testing.assert_close(prepared(x), model(x), rtol=1e-12, atol=1e-12)


class _TwiceFrozenBatchNorm2d(FrozenBatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_what_only_has_the_name_of_one_is_left_as_it_is() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), _TwiceFrozenBatchNorm2d(4)).double()
    prepared = hrat.prepare(model, SPEC, IMAGE.double())
    assert "mul" in {row.operation for row in prepared.report.digital_operations}


@pytest.mark.parametrize("between", [nn.Identity(), nn.GELU()])
def test_one_in_eval_mode_by_itself_does_not_learn(between: nn.Module) -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), between, nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1))
    prepared = hrat.prepare(model, SPEC, IMAGE).train()
    for module in prepared.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    prepared(IMAGE)
    means = [buffer for name, buffer in prepared.named_buffers() if name.endswith("running_mean")]
    assert len(means) == 1
    assert not any(mean.any() for mean in means)
    prepared.train()(IMAGE)
    assert all(mean.any() for mean in means)


ACTIVE = (nn.Conv2d(2, 4, 2), nn.ReLU(), nn.BatchNorm2d(4))
"""A batch norm behind an activation."""


@pytest.mark.parametrize(
    "behind",
    [
        (nn.MaxPool2d(2), nn.Conv2d(4, 3, 1)),
        (nn.MaxPool2d(3, 1, padding=1), nn.Conv2d(4, 3, 3)),
        (nn.MaxPool2d(2, ceil_mode=True), nn.AvgPool2d(2), nn.Conv2d(4, 3, 1)),
        (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
        (nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)),
        (nn.Flatten(2), nn.MaxPool1d(2), nn.Conv1d(4, 3, 2)),
        (nn.Flatten(), nn.Linear(64, 3)),
        (nn.Identity(), nn.Conv2d(4, 3, 3, padding=1, padding_mode="circular")),
    ],
)
def test_one_behind_an_activation_folds_past_pooling_and_layout(behind: tuple[nn.Module, ...]) -> None:
    small = Small(nn.Sequential(*ACTIVE, *behind), IMAGE)
    assert taken(small)[1][2] == "2"
    assert small.domains().digital == {}


@pytest.mark.parametrize(
    "behind",
    [
        (nn.MaxPool2d(2), nn.Conv2d(4, 3, 3, padding=1)),
        (nn.ZeroPad2d(1), nn.Conv2d(4, 3, 3)),
        (nn.AvgPool2d(2, padding=1), nn.Conv2d(4, 3, 1)),
        (nn.AvgPool2d(2, divisor_override=3), nn.Conv2d(4, 3, 1)),
        (nn.Dropout(), nn.Flatten(), nn.Linear(64, 3)),
        (nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)),
        (nn.Flatten(2), nn.Linear(16, 3)),  # mixes positions
        (nn.MaxPool2d(2), nn.ConvTranspose2d(4, 3, 2)),
    ],
)
def test_one_behind_an_activation_stays_where_its_shift_does_not_pass(behind: tuple[nn.Module, ...]) -> None:
    small = Small(nn.Sequential(*ACTIVE, *behind), IMAGE)
    assert taken(small)[1][2] is None
    assert "batch_norm" in {row.operation for row in digital_rows(small.network, small.domains())}


def test_maximum_pooling_behind_one_follows_the_sign_of_each_gain_in_training_and_on_the_chip() -> None:
    model = nn.Sequential(*ACTIVE, nn.MaxPool2d(2), nn.Conv2d(4, 3, 1)).double().train()
    x = IMAGE.double()
    prepared = hrat.prepare(model, SPEC, x)
    norm = hrat.nn.crossbar_layers(prepared)["4"].batch_norm_before
    assert norm is not None
    for weight in (norm.weight, model[2].weight):
        with torch.no_grad():
            weight.copy_(torch.tensor([-1.0, 0.0, 0.5, -0.2]))
    for mode in (True, False):
        with torch.no_grad(), restrictions(prepared, SPEC.ideal()):
            torch.testing.assert_close(prepared.train(mode)(x), model.train(mode)(x), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(norm.running_var, model[2].running_var)
    assert_law1(prepared.eval(), x, SPEC)
