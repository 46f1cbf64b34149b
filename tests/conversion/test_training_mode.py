"""What training does: gradients stop, weights are tied and normalisations frozen where they are in the network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hrat
from hrat.errors import ConversionError
from hrat.nn import freeze_batch_norm

IDEAL = hrat.load_spec("generic-4bit").ideal()
X = torch.randn(8, 6)
IMAGES = torch.randn(4, 3, 8, 8)


def gradients(model: nn.Module, x: Any) -> dict[str, Tensor | None]:
    """Gradients of a prepared model, by the original's names."""
    prepared = hrat.prepare(model, "generic-4bit", x).train()
    prepared(x).sum().backward()
    return {name.removeprefix("graph."): p.grad for name, p in prepared.named_parameters()}


# ---- gradients


class _Stops(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.body, self.head, self.how = nn.Linear(6, 6), nn.Linear(6, 2), how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "no_grad":
            with torch.no_grad():
                h, kept = torch.relu(self.body(x)).chunk(2, 1)
            return self.head(torch.cat([h, kept], 1))
        if self.how == "set_grad_enabled":
            with torch.set_grad_enabled(False):
                h = torch.relu(self.body(x))
            return self.head(h)
        h = torch.relu(self.body(x))
        return self.head(h.detach() if self.how == "detach" else h.data)


@pytest.mark.parametrize("how", ["detach", "data", "no_grad", "set_grad_enabled"])
def test_gradients_stop_where_they_do_in_the_network(how: str) -> None:
    found = gradients(_Stops(how), X)
    assert found["body.weight"] is None or not found["body.weight"].any()
    head = found["head.weight"]
    assert head is not None
    assert head.any()


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return -grads[0]


class _Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * grads[0]


class _Through(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.body, self.head, self.function = nn.Linear(6, 6), nn.Linear(6, 2), function

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.function.apply(torch.relu(self.body(x))))


def test_an_autograd_function_is_followed_where_its_gradient_is_that_of_its_steps() -> None:
    hrat.prepare(_Through(_Square), IDEAL, X)
    with pytest.raises(ConversionError, match=r"another gradient.*'body.*gradients of its own: _Reversed"):
        hrat.prepare(_Through(_Reversed), IDEAL, X)
    notes = hrat.prepare(_Through(_Reversed), IDEAL, X, check=False).report.notes
    assert any("_Reversed" in note for note in notes)


@pytest.mark.parametrize("method", ["register_hook", "requires_grad_", "retain_grad"])
def test_what_meddles_with_gradients_in_forward_is_refused(method: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.a(x)
            if h.requires_grad:
                getattr(h, method)(*([lambda g: 0.1 * g] if method == "register_hook" else []))
            return self.b(h)

    with pytest.raises(ConversionError, match=rf"test_training_mode.py:\d+ calls {method}\(\)"):
        hrat.prepare(Net(), IDEAL, X)


@pytest.mark.parametrize("where", ["parameter", "module", "written out"])
def test_hooks_of_the_backward_pass_are_refused(where: str) -> None:
    model = nn.ModuleList([nn.Linear(6, 6), nn.LSTM(6, 6)])
    net = nn.Sequential(model[0], nn.ReLU(), nn.Linear(6, 2))
    if where == "parameter":
        net[0].weight.register_hook(lambda g: 0 * g)
    elif where == "module":
        net[0].register_full_backward_hook(lambda *_: None)
    else:
        model[1].register_forward_hook(lambda *_: None)
        net = nn.Sequential(model[1])
    with pytest.raises(ConversionError, match=r"'0'.*hooks"):
        hrat.prepare(net, IDEAL, X)


# ---- weights that are one


class _Tied(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.weight = how, nn.Parameter(torch.randn(6, 4))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(x @ self.weight)
        return h @ self.weight.t() if self.how == "product" else F.linear(h, self.weight)


@pytest.mark.parametrize("how", ["product", "linear"])
def test_weights_tied_by_transposition_stay_one_parameter(how: str) -> None:
    model = _Tied(how)
    prepared = hrat.prepare(model, IDEAL, X).eval()
    torch.testing.assert_close(prepared(X), model(X), rtol=0, atol=2e-5)
    assert len(prepared.report.layers) == 2
    assert [tuple(p.shape) for p in prepared.parameters() if p.ndim == 2] == [(6, 4)]


PRODUCTS = [
    lambda x, w: x @ torch.permute(w, (1, 0)),
    lambda x, w: x @ w.permute(1, 0),
    lambda x, w: x @ w.transpose(-1, -2),
    lambda x, w: x @ torch.permute(w.t(), (0, 1)),
    lambda x, w: x @ w.t().permute(0, 1),
    lambda x, w: F.linear(x, torch.permute(w, (0, 1))),
]


@pytest.mark.parametrize("product", PRODUCTS, ids=range(len(PRODUCTS)))
def test_a_permutation_is_a_transposition_only_where_it_swaps(product: Any) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.weight = nn.Linear(6, 6), nn.Parameter(torch.randn(6, 6))

        def forward(self, x: Tensor) -> Tensor:
            return product(self.first(x), self.weight)  # type: ignore[no-any-return]

    model = Net()
    torch.testing.assert_close(hrat.prepare(model, IDEAL, X).eval()(X), model(X), rtol=0, atol=2e-5)


def test_recurrent_layers_that_share_a_matrix_still_do() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.GRU(6, 6, batch_first=True), nn.GRU(6, 6, batch_first=True)
            self.b.weight_hh_l0 = self.a.weight_hh_l0

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x)[0])[0]

    prepared = hrat.prepare(Net(), IDEAL, torch.randn(4, 5, 6))
    assert sum(p.shape == (18, 6) for p in prepared.parameters()) == 3


class _Merging(nn.Linear):
    """An adapter that merges into its weight in eval mode."""

    def __init__(self) -> None:
        super().__init__(6, 8)
        self.down, self.up = nn.Parameter(torch.randn(2, 6)), nn.Parameter(torch.randn(8, 2))
        self.weight.requires_grad_(False)
        self.merged = False

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        if mode == self.merged:
            self.weight.data += (self.up @ self.down) * (-1 if mode else 1)
            self.merged = not mode
        return self

    def forward(self, input: Tensor) -> Tensor:
        plain = F.linear(input, self.weight, self.bias)
        return plain if self.merged else plain + input @ self.down.t() @ self.up.t()


@pytest.mark.parametrize("training", [True, False])
def test_adapters_that_merge_in_eval_mode_stay_apart(training: bool) -> None:
    model = nn.Sequential(_Merging(), nn.ReLU(), nn.Linear(8, 3)).train(training)
    prepared = hrat.prepare(model, IDEAL, X)
    assert {(2, 6), (8, 2)} <= {tuple(p.shape) for p in prepared.parameters() if p.requires_grad}
    assert any("adapters" in note for note in prepared.report.notes)
    torch.testing.assert_close(prepared.eval()(X), model.eval()(X), rtol=0, atol=1e-4)


# ---- normalisations


class _Functional(nn.Module):
    def __init__(self, training: bool | None, momentum: float = 0.1) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.how = training, momentum

    def forward(self, x: Tensor) -> Tensor:
        training, momentum = self.how
        norm = self.norm
        return F.batch_norm(
            self.conv(x),
            norm.running_mean,
            norm.running_var,
            norm.weight,
            norm.bias,
            self.training if training is None else training,
            momentum,
        )


class _KeepsEval(nn.Module):
    """A network that keeps its batch norm in eval mode, as detectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


def _in_eval() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).train()
    model[1].eval()
    return model


FROZEN = {
    "training=False": lambda: _Functional(False).train(),
    "momentum 0": lambda: _Functional(None, 0.0).train(),
    "eval()": _in_eval,
    "train() of its own": lambda: _KeepsEval().train(),
}


@pytest.mark.parametrize("how", FROZEN)
def test_a_frozen_batch_norm_stays_frozen(how: str) -> None:
    prepared = hrat.prepare(FROZEN[how](), "generic-4bit", IMAGES).train()
    freeze_batch_norm(prepared, False)  # as `hrat.fit` does
    prepared(3 * IMAGES + 1)
    (mean,) = (value for name, value in prepared.state_dict().items() if name.endswith("running_mean"))
    assert not mean.any()


def test_a_batch_norm_that_follows_the_mode_trains() -> None:
    prepared = hrat.prepare(_Functional(None).train(), "generic-4bit", IMAGES).train()
    prepared(3 * IMAGES + 1)
    (mean,) = (value for name, value in prepared.state_dict().items() if name.endswith("running_mean"))
    assert mean.any()


def test_a_batch_norm_by_the_batch_in_eval_mode_is_refused() -> None:
    with pytest.raises(ConversionError, match=r"statistics of the batch in eval mode"):
        hrat.prepare(_Functional(True), IDEAL, IMAGES)


def test_a_batch_norm_without_statistics_is_refused_wherever_it_stands() -> None:
    apart = nn.BatchNorm2d(4, track_running_stats=False)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), apart, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))
    with pytest.raises(ConversionError, match=r"keeps no running statistics"):
        hrat.prepare(model, IDEAL, IMAGES)


@pytest.mark.parametrize("affine", [False, True])
def test_instance_norm_with_statistics_trains_as_in_pytorch(affine: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, affine=affine, track_running_stats=True)).train()
    prepared = hrat.prepare(model, IDEAL, IMAGES).train()
    torch.testing.assert_close(prepared(3 * IMAGES), model(3 * IMAGES), rtol=0, atol=1e-4)
    torch.testing.assert_close(prepared.eval()(IMAGES), model.eval()(IMAGES), rtol=0, atol=1e-4)
    chip = hrat.program(hrat.deploy(prepared))
    with hrat.use_chip(prepared, chip), torch.no_grad():
        torch.testing.assert_close(hrat.simulate(chip, IMAGES).value[0], prepared(IMAGES), rtol=0, atol=1e-5)


# ---- other ways in training


class _Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = F.dropout(self.a(x), 0.5, self.training)
        return self.b(h * 2 if self.training else h)


def test_a_branch_on_training_is_told() -> None:
    notes = hrat.prepare(_Branches(), IDEAL, X).report.notes
    assert any("branches on self.training" in note for note in notes), notes


def test_dropout_by_the_mode_needs_no_note() -> None:
    class Drops(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(F.dropout(self.a(x), 0.5, self.training))

    prepared = hrat.prepare(Drops(), IDEAL, X)
    assert not prepared.report.notes
    assert not torch.equal(prepared.train()(X), prepared.train()(X))


@pytest.mark.parametrize("scales", ["signal", "channel"])
def test_a_stopped_gradient_needs_no_converter_and_leaves_scales_free(scales: Any) -> None:
    """With all restrictions off no output depends on a scale, so that no scale has a gradient, stopped or not."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), _Stop(), nn.Conv2d(4, 2, 3)).double()
    x = IMAGES.double()
    prepared = hrat.prepare(model, IDEAL, x, scales=scales).eval()
    assert not prepared.report.digital_operations
    prepared(x).square().sum().backward()
    for name, p in prepared.named_parameters():
        if "log_alpha" in name and p.grad is not None:
            assert p.grad.abs().max() < 1e-9, name
    assert prepared.graph.get_submodule("0").weight.grad is None
    chip = hrat.program(hrat.deploy(prepared))
    with hrat.use_chip(prepared, chip), torch.no_grad():
        torch.testing.assert_close(hrat.simulate(chip, x).value[0], prepared(x), rtol=0, atol=1e-10)


class _Stop(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach()
