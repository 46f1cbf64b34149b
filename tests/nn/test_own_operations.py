"""Operations of one's own in a network: followed as one step, digital or analog, held to what they claim."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hrat
from hrat.errors import HratError


class Steep(torch.autograd.Function):
    """A step with a gradient of its own, which no tracer can follow."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0] * torch.exp(-(x**2))


@hrat.operation(why="a spike")
def spike(x: Tensor) -> Tensor:
    return Steep.apply(x)  # type: ignore[no-any-return]


@hrat.operation(analog=True, per_channel=True)
def rectified_average(x: Tensor, share: float = 0.5) -> Tensor:
    if x.shape[0] < 0:  # what is inside is not followed
        return x
    return share * torch.relu(x) + (1 - share) * x.clamp(min=0).abs()


@hrat.operation(analog=True)
def squared(x: Tensor) -> Tensor:
    """Claims what does not hold: it does not commute with a scale."""
    return x * x.abs()


sinc = hrat.operation(why="a curve", name="narrow_sinc")(lambda x: torch.sinc(2 * x))


def network(step: Any) -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.last = nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(step(self.norm(self.first(x))))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    return Net().double()


@pytest.mark.parametrize(("step", "n_digital"), [(spike, 1), (rectified_average, 0), (sinc, 1)])
def test_the_laws_hold_around_it(step: Any, n_digital: int, tmp_path: Path) -> None:
    x = torch.randn(16, 6, dtype=torch.float64)
    plain = network(step).eval()
    model = hrat.prepare(plain, hrat.load_spec("generic-4bit").ideal(), x).eval()
    assert len(model.report.digital_operations) == n_digital
    assert torch.allclose(model(x), plain(x), rtol=1e-12, atol=1e-12)  # nothing is lost
    model = hrat.prepare(network(step), "generic-4bit", x)
    before = model(x).square().sum()
    before.backward()
    assert all(p.grad is not None for p in model.parameters())
    model.eval()
    chip = hrat.program(hrat.deploy(model), seed=3)
    with hrat.use_chip(model, chip):
        assert torch.allclose(hrat.simulate(chip, x).value[0], model(x), rtol=1e-12, atol=1e-12)
    chip.save(tmp_path / "own.chip")
    again = hrat.load(tmp_path / "own.chip")
    assert torch.equal(hrat.simulate(again, x).value, hrat.simulate(chip, x).value)  # type: ignore[arg-type]


def test_the_report_says_why_it_is_digital() -> None:
    text = str(hrat.prepare(network(spike), "generic-4bit", torch.randn(8, 6, dtype=torch.float64)).report)
    assert "spike" in text
    assert "a spike" in text


def test_a_wrong_claim_is_refused() -> None:
    with pytest.raises(HratError, match=r"changed|differ"):
        hrat.prepare(network(squared), "generic-4bit", torch.randn(8, 6, dtype=torch.float64))


def test_names_are_checked() -> None:
    with pytest.raises(HratError, match="already"):
        hrat.operation(name="relu")(lambda x: x)
    with pytest.raises(HratError, match="knows 'tanh' already"):
        hrat.operation()(torch.tanh)
    with pytest.raises(HratError, match="letters, digits"):
        hrat.operation()(lambda x: x)

    @hrat.operation(name="spike", why="the same once more, as in a notebook's cell")
    def again(x: Tensor) -> Tensor:
        return x

    hrat.operation(why="a spike")(spike.__wrapped__)  # as it was


def test_a_file_names_it_and_says_what_is_missing(tmp_path: Path) -> None:
    model = hrat.prepare(network(spike), "generic-4bit", torch.randn(8, 6, dtype=torch.float64)).eval()
    hrat.deploy(model).save(tmp_path / "own.deployment")
    code = f"import hrat; hrat.load({str(tmp_path / 'own.deployment')!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ArtifactError" in done.stderr
    assert "'spike'" in done.stderr
    assert "hrat.operation" in done.stderr
