"""`check_laws` on networks of one's own: what it says where the laws hold, and that each can be found broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hrat
from hrat.errors import ConversionError, HratError, LawError
from hrat.nn import signals
from hrat.simulation import behavioural
from hrat.simulation.nodal import solver
from hrat.testing import LAWS, check_laws
from hrat.testing import circuit as circuit_check
from hrat.testing.laws import nothing_is_lost, scale_is_a_gauge
from hrat.testing.origins import Origins, told_apart
from hrat.testing.training import training_is_the_networks
from ngspice import needs_ngspice


def plain(batch_norm: bool = True) -> nn.Module:
    norm = [nn.BatchNorm1d(5)] if batch_norm else []
    return nn.Sequential(nn.Linear(6, 5), *norm, nn.ReLU(), nn.Linear(5, 3))


def images(n: int = 12) -> Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    """Two layers, with something between them."""

    def __init__(self, between: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 5), nn.Linear(5, 3)
        self.between = between
        self.register_buffer("seen", torch.zeros(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(self, self.first(x)))  # type: ignore[no-any-return]


# ---- where they hold -------------------------------------------------------------------------------------------------


@needs_ngspice
def test_all_laws_hold_for_an_ordinary_network_which_is_left_as_it_is() -> None:
    model = plain().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.random.get_rng_state()
    report = check_laws(model, "generic-3bit-harsh", images(), batch_norm="two_pass")
    assert report.ok
    assert [one.name for one in report.findings] == [
        *("law 1", "law 2", "law 3", "law 4, nodal", "law 4, SPICE", "law 5", "law 6")
    ]
    assert all(one.status == "holds" for one in report.findings)
    assert all(one.error is not None and one.bound is not None for one in report.findings)
    assert [one.bound for one in report.findings] == [1e-12, 1e-12, 1e-12, 1e-9, 1e-9, 1e-10, 1e-10]
    assert model.training
    assert model[0].weight.dtype == torch.float32  # type: ignore[index, union-attr]
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
    assert random.equal(torch.random.get_rng_state())


def test_a_report_is_a_table_and_plain_data() -> None:
    report = check_laws(plain(batch_norm=False), "generic-4bit", images(), laws=(1, 5))
    lines = str(report).splitlines()
    assert lines[0] == "laws for Sequential on generic-4bit"
    assert "off by" in lines[1]
    assert lines[2].startswith("law 1  what you train is what you deploy  holds")
    assert json.loads(json.dumps(report.to_dict()))["findings"][1]["name"] == "law 5"
    assert report["law 5"].ok
    with pytest.raises(KeyError, match="no finding 'law 2'; there are law 1, law 5"):
        report["law 2"]


def test_a_factory_and_a_spec_from_a_file(tmp_path: Path) -> None:
    path = hrat.load_spec("wan2022").save(tmp_path / "mine.toml")
    calls = []

    def make() -> nn.Module:
        calls.append(1)
        return plain()

    assert check_laws(make, path, images(), laws=(1, 2, 3)).ok
    assert len(calls) == 1


def test_one_pass_says_how_far_it_is_from_plain_training_and_two_pass_holds() -> None:
    report = check_laws(plain(), "generic-4bit", images(), laws=(6,))
    assert report["law 6"].status == "holds"
    approximate = report["law 6, one_pass"]
    assert approximate.status == "approximate"
    assert approximate.ok
    assert approximate.error is not None
    assert 1e-10 < approximate.error < 0.1
    assert "approximation of two_pass" in approximate.detail
    assert len(check_laws(plain(batch_norm=False), "generic-4bit", images(), laws=(6,)).findings) == 1


def test_what_cannot_be_checked_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("HRAT_NGSPICE", "/nowhere/ngspice")
        found = check_laws(plain(), "generic-4bit", images(), laws=(4,))["law 4, SPICE"]
    assert (found.status, found.error) == ("not checked", None)
    assert "/nowhere/ngspice" in found.detail
    one_image = check_laws(plain(), "generic-4bit", images(1), laws=(6,), batch_norm="two_pass")["law 6"]
    assert one_image.status == "not checked"
    assert "Expected more than 1 value per channel" in one_image.detail


@needs_ngspice
def test_a_large_circuit_is_not_sent_through_spice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit_check, "SPICE_WORK", 60)
    found = check_laws(plain(), "generic-4bit", images(), laws=(4,))["law 4, SPICE"]
    assert found.status == "not checked"
    assert "90 devices times inputs" in found.detail  # 2 (6 x 5 + 5 x 3), of one image


def test_rounding_that_is_magnified_is_told_from_a_broken_law() -> None:
    """The batch statistics of nearly equal images are little but rounding."""
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, eps=1e-30), nn.ReLU(), nn.Linear(5, 3)).double()
    model = told_apart(model, 0)
    x = images(1).double() + 1e-9 * images(4).double()
    found = training_is_the_networks(model, hrat.prepare(model, "generic-4bit", x, batch_norm="two_pass"), x)
    assert found.status == "not checked"
    assert "rounding alone moves" in found.detail


def test_dropout_that_is_drawn_in_another_order_is_left_out_and_said() -> None:
    found = check_laws(nn.Sequential(plain(), nn.AlphaDropout(0.3)), "generic-4bit", images(), laws=(6,))["law 6"]
    assert found.status == "holds"
    assert "without dropout" in found.detail


# ---- where they are broken -------------------------------------------------------------------------------------------


def test_law_1_is_found_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    linear_model = behavioural.linear_model

    def too_large(chip: Any, name: str, seen_S: tuple[Tensor, Tensor]) -> Any:
        return linear_model(chip, name, (seen_S[0] * (1 + 1e-9), seen_S[1]))

    monkeypatch.setattr(behavioural, "linear_model", too_large)
    message = r"law 1 does not hold \(what you train is what you deploy\): chip 0, output.*differs by .* was expected"
    with pytest.raises(LawError, match=message):
        check_laws(plain(), "generic-4bit", images())
    report = check_laws(plain(), "generic-4bit", images(), throw=False)
    assert not report.ok
    assert report["law 1"].status == report["law 4, nodal"].status == "broken"
    assert report["law 2"].ok
    assert report["law 5"].ok


def test_laws_2_and_3_are_found_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = plain().double().eval(), images().double()
    prepared = hrat.prepare(model, "generic-4bit", x)
    assert nothing_is_lost(model, prepared, x).ok
    assert scale_is_a_gauge(prepared, x).ok
    with torch.no_grad():
        model[3].weight[0, 0] += 1e-10  # type: ignore[index, operator]
    found = nothing_is_lost(model, prepared, x)
    assert found.status == "broken"
    assert found.error is not None
    assert 1e-12 < found.error < 1e-9
    monkeypatch.setattr(signals.OutputRescale, "forward", lambda self, voltage, alpha: voltage)
    with pytest.raises(AssertionError, match="law 3 does not hold"):
        scale_is_a_gauge(prepared, x).require()


def test_law_4_is_found_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    from_ends = solver.layer_from_ends

    def leaky(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        g_pos_S, g_neg_S, ground_S = from_ends(*args, **kwargs)
        return g_pos_S * (1 + 1e-6), g_neg_S, ground_S

    monkeypatch.setattr(solver, "layer_from_ends", leaky)
    report = check_laws(plain(), "generic-4bit", images(), throw=False)
    assert [one.name for one in report.findings if not one.ok] == ["law 4, nodal"]


def test_law_5_is_found_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = import_module("hrat.nn.crossbar_layer")
    forward = layers.CrossbarLayer.forward

    def doubled(self: Any, *args: Any, **kwargs: Any) -> Tensor:
        out: Tensor = forward(self, *args, **kwargs)
        return 2 * out - out.detach()

    monkeypatch.setattr(layers.CrossbarLayer, "forward", doubled)
    report = check_laws(plain(batch_norm=False), "generic-4bit", images(), throw=False)
    assert [one.name for one in report.findings if not one.ok] == ["law 5", "law 6"]
    assert "gradient of" in report["law 5"].detail


class _Turned(torch.autograd.Function):
    """The signal as it is, and its gradient with the other sign."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return -grads[0]


def turned(net: nn.Module, x: Tensor) -> Tensor:
    """Gradients of its own, as domains are told apart adversarially."""
    return _Turned.apply(x)


def rounded(net: nn.Module, x: Tensor) -> Tensor:
    """A straight-through gradient in the common way."""
    return x + (torch.round(x) - x).detach()


def remembered(net: nn.Module, x: Tensor) -> Tensor:
    """A buffer that follows the signal in training."""
    if net.training:
        net.seen.mul_(0.9).add_(0.1 * x.detach().mean(0))  # type: ignore[operator, union-attr]
    return torch.relu(x)


def noisy(net: nn.Module, x: Tensor) -> Tensor:
    """Noise in training only."""
    return torch.relu(x + 0.1 * torch.randn_like(x) if net.training else x)


def test_a_network_whose_gradient_conversion_loses_is_found() -> None:
    with pytest.raises(LawError, match=r"law 5 does not hold .*: gradient of .* differs"):
        check_laws(Net(turned), "generic-4bit", images(), laws=(1, 2, 3, 5))


def always_dropped(net: nn.Module, x: Tensor) -> Tensor:
    """Random numbers in eval mode too, of which no chip has any."""
    return torch.nn.functional.dropout(x, 0.5, training=True)


def test_random_numbers_are_not_taken_for_rounding() -> None:
    quiet, random = Net(lambda net, x: x).double(), Net(always_dropped).double()
    random.load_state_dict(quiet.state_dict())
    x = images().double()
    finding = nothing_is_lost(random, hrat.prepare(quiet, "generic-4bit", x), x)
    assert finding.status == "broken"


def test_a_straight_through_gradient_is_kept() -> None:
    check_laws(Net(rounded), "generic-4bit", images(), laws=(1, 2, 3, 5))


@pytest.mark.parametrize(
    ("between", "message"),
    [(remembered, "buffer seen of the original changes in training"), (noisy, "step 0, .* differs by")],
)
def test_a_network_that_trains_otherwise_is_found(between: Any, message: str) -> None:
    report = check_laws(Net(between), "generic-4bit", images(), throw=False)
    assert [one.name for one in report.findings if not one.ok] == ["law 6"]
    with pytest.raises(LawError, match=message):
        report.require()


def test_a_parameter_that_lives_nowhere_else_is_found() -> None:
    model = told_apart(plain(batch_norm=False).double().eval(), 0)
    prepared = hrat.prepare(model, "generic-4bit", images().double())
    with torch.no_grad():
        model[0].bias[2] += 1.0  # type: ignore[index, operator]
    assert Origins.find(dict(model.named_parameters()), dict(prepared.named_parameters())).missing() == ["0.bias"]
    found = training_is_the_networks(model, prepared, images().double())
    assert found.status == "broken"


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_what_is_no_network_or_no_law_is_refused() -> None:
    with pytest.raises(HratError, match=r"laws: expected some of 1, 2, 3, 4, 5, 6, got \[7\]"):
        check_laws(plain(), "generic-4bit", images(), laws=(1, 7))
    with pytest.raises(ConversionError, match=r"expected a torch\.nn\.Module or a function that makes one, got int"):
        check_laws(3, "generic-4bit", images())  # type: ignore[arg-type]
    with pytest.raises(ConversionError, match="a function that makes one, got str"):
        check_laws(lambda: "a network", "generic-4bit", images())  # type: ignore[arg-type, return-value]
    assert LAWS == (1, 2, 3, 4, 5, 6)
