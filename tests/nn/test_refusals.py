"""What cannot be put on a chip is refused, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hrat
from laws.networks import SPECS, small_network

IMAGE = torch.randn(2, 3, 6, 6)


class _With(nn.Module):
    """A linear layer and a forward pass that is given."""

    def __init__(self, forward: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 6)
        self.steps = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(self.fc, x)


def branch(fc: nn.Module, x: Tensor) -> Tensor:
    if x.sum() > 0:
        return fc(x)
    return -fc(x)


def loop(fc: nn.Module, x: Tensor) -> Tensor:
    while x.abs().max() > 1:
        x = fc(x)
    return x


def packed(fc: nn.Module, x: Tensor) -> Tensor:
    return fc(nn.utils.rnn.pack_padded_sequence(x, torch.tensor([2, 1]), batch_first=True).data)


class _Recurrent(nn.Module):
    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell, self.head = cell, nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.cell, nn.RNNCellBase) or not hasattr(self.cell, "num_heads"):
            return self.head(self.cell(x))
        return self.head(self.cell(x, x, x)[0])


def normed(**how: Any) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, **how))


def with_nan() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    model[0].weight.data[0, 0, 0, 0] = float("nan")
    return model


def weight_normed() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)))


def spectral_normed() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)))


REFUSED: list[tuple[nn.Module, Tensor, str]] = [
    (_With(branch), torch.randn(2, 6), r"graph of _With cannot be found.*\n.*test_refusals\.py:\d+: if x\.sum\(\) > 0"),
    (
        _With(loop),
        torch.randn(2, 6),
        r"do not depend on the values of tensors(.|\n)*fix: replace Python's if/while/for",
    ),
    (
        _With(lambda fc, x: torch.fft.fft(fc(x)).real),
        torch.randn(2, 6),
        r"fft.*not among the operations.*hrat\.operation",
    ),
    (_With(lambda fc, x: torch.linalg.cond(fc(x))), torch.randn(6, 6), r"cond.*is not among the operations"),
    (_With(lambda fc, x: fc(x) + torch.rand_like(x)), torch.randn(2, 6), r"rand_like.*it draws random numbers"),
    (_With(lambda fc, x: fc(x).uniform_()), torch.randn(2, 6), r"uniform_.*it draws random numbers"),
    (
        _With(lambda fc, x: fc(x[x[:, 0].nonzero()[:, 0]])),
        torch.randn(2, 6),
        r"nonzero.*it yields what has another size",
    ),
    (_With(lambda fc, x: torch.polar(fc(x), x).abs()), torch.randn(2, 6), r"polar.*it computes complex numbers"),
    (_With(lambda fc, x: fc(x).to_sparse()), torch.randn(2, 6), r"to_sparse.*it handles sparse tensors"),
    (_With(packed), torch.randn(2, 3, 6), r"fix: give padded sequences to the recurrent layer as they are"),
    (
        _With(lambda fc, x: F.conv1d(fc(x), fc.weight[:, :, None].softmax(1))),
        torch.randn(2, 6, 6),
        r"convolution whose weight is computed in the forward pass; expected a parameter",
    ),
    (_Recurrent(nn.LSTM(6, 6, proj_size=3)), torch.randn(4, 2, 6), r"'cell' \(LSTM\) has proj_size=3; expected 0"),
    (
        _Recurrent(nn.MultiheadAttention(6, 2, add_bias_kv=True)),
        torch.randn(4, 2, 6),
        r"'cell' \(MultiheadAttention\) has add_bias_kv or add_zero_attn",
    ),
    (_Recurrent(nn.LSTM(6, 6)), torch.randn(4, 2, 6), r"does not pass through node 'head'.*must be Tensor, not tuple$"),
    (_Recurrent(nn.GRUCell(6, 6)), torch.randn(2, 5), r"does not pass through .*(5|6)"),
    (with_nan(), IMAGE, r"parameter '0\.weight' has values that are not finite"),
    (normed(track_running_stats=False), IMAGE, r"'1' keeps no running statistics \(track_running_stats=False\)"),
    (weight_normed(), IMAGE, r"'0' .*weight norm, spectral norm.*remove_parametrizations"),
    (spectral_normed(), IMAGE, r"'0' .*computes its weight from other parameters"),
    (nn.Sequential(nn.LazyConv2d(3, 3)), IMAGE, r"'0' .*has no weights yet; run the model once"),
    (nn.Sequential(nn.ReLU(), nn.Flatten()), IMAGE, r"no linear layer or convolution"),
    (
        _With(lambda fc, x: torch.exp(fc(x), out=torch.empty(2, 6))),
        torch.randn(2, 6),
        r"node 'exp'.*it writes its result into another tensor \(out\)",
    ),
    (
        _With(lambda fc, x: F.scaled_dot_product_attention(fc(x), x, x, dropout_p=0.5)),
        torch.randn(2, 6, 6),
        r"attention with dropout_p=0.5 is random",
    ),
    (nn.Sequential(nn.Conv2d(4, 4, 3)), IMAGE, r"example input does not pass through node '_0'"),
    (nn.Linear(5, 2), torch.randn(2, 6), r"example input does not pass through"),
]


@pytest.mark.parametrize(("model", "x", "message"), REFUSED)
def test_a_model_that_no_chip_can_do(model: nn.Module, x: Tensor, message: str) -> None:
    with pytest.raises(hrat.HratError, match=message) as caught:
        hrat.prepare(model, "generic-3bit-harsh", x)
    assert isinstance(caught.value, ValueError)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_weight_norm_of_the_old_kind() -> None:
    model = nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 2)))
    with pytest.raises(hrat.HratError, match="weight norm"):
        hrat.prepare(model, "generic-3bit-harsh", torch.randn(2, 3))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_spectral_norm_of_the_old_kind() -> None:
    model = nn.Sequential(nn.utils.spectral_norm(nn.Linear(3, 2)))
    with pytest.raises(hrat.HratError, match="spectral norm"):
        hrat.prepare(model, "generic-3bit-harsh", torch.randn(2, 3))


def test_dropout_that_is_always_on_is_noticed() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(F.dropout(x, 0.5, training=True))

    with pytest.raises(hrat.HratError, match=r"differs from the original.*random numbers"):
        hrat.prepare(Noisy(), "generic-3bit-harsh", torch.randn(64, 3))


def test_an_output_size_in_the_call() -> None:
    class Sized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.ConvTranspose1d(2, 2, 3, stride=2)

        def forward(self, x: Tensor) -> Tensor:
            return self.up(x, output_size=[8])

    with pytest.raises(hrat.HratError, match="output_padding"):
        hrat.prepare(Sized(), "generic-3bit-harsh", torch.randn(1, 2, 3))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            {"batch_norm": "twopass"},
            r"expected batch_norm to be one of two_pass, slice, one_pass, unfused, got 'twopass'",
        ),
        ({"scales": "layer"}, r"expected scales='signal' or 'channel', got 'layer'"),
    ],
)
def test_unknown_options(how: dict[str, Any], message: str) -> None:
    model, x = small_network()
    with pytest.raises(hrat.HratError, match=message):
        hrat.prepare(model, "generic-3bit-harsh", x, **how)


def test_an_unknown_preset() -> None:
    model, x = small_network()
    with pytest.raises(hrat.HratError, match="generic-3bit-harsh"):
        hrat.prepare(model, "generic-3bit-hars", x)


def test_only_a_prepared_model_can_be_deployed() -> None:
    model, _ = small_network()
    with pytest.raises(hrat.HratError, match=r"got Sequential; call hrat\.prepare"):
        hrat.deploy(model)  # type: ignore[arg-type]
    with pytest.raises(hrat.HratError, match="returned, got Linear"):
        hrat.nn.crossbar_layers(model[0])


@pytest.mark.parametrize("where", ["weight", "running_var", "log_alpha", "log_range"])
def test_a_model_whose_training_diverged_is_not_deployed(where: str) -> None:
    model, x = small_network()
    prepared = hrat.prepare(model, SPECS["harsh"], x)
    state = prepared.state_dict()
    key = next(key for key in state if key.endswith(where))
    state[key].view(-1)[0] = float("nan")
    with pytest.raises(hrat.HratError, match="not finite"):
        hrat.deploy(prepared)


def test_calibration_without_data() -> None:
    model, x = small_network()
    with pytest.raises(hrat.HratError, match="at least one batch"):
        hrat.calibrate(hrat.prepare(model, SPECS["harsh"], x), [])


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "class"])
def test_names_of_modules_that_are_no_source_code(name: str) -> None:
    model = nn.Sequential()
    model.add_module(name, nn.Linear(3, 2))
    with pytest.raises(hrat.HratError, match="expected a printable name"):
        hrat.prepare(model, "generic-4bit", torch.randn(4, 3))
