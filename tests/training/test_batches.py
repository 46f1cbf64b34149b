"""Training on batches of every kind: dicts of tensors, several inputs, sequences, losses of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

import hrat
from hrat.errors import DataError
from hrat.mapping import choose_redundancy
from hrat.nn import calibrate_scales
from hrat.training import accuracy, fit

QUICK = {"epochs": 1, "progress": False}


class Tokens(nn.Module):
    """Scores of classes for each token, `(batch, tokens, classes)`, and where labels are given the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 6)
        self.body = nn.Linear(6, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        x = self.table(input_ids) * attention_mask.unsqueeze(-1)
        logits = self.head(torch.relu(self.body(x)))
        if labels is None:
            return {"logits": logits}
        return {"loss": F.cross_entropy(logits.flatten(0, 1), labels.flatten()), "logits": logits}


def sequences(n: int = 24, label: str = "labels") -> DataLoader[Any]:
    """Tokens whose label is their number modulo 4, padded."""
    generator = torch.Generator().manual_seed(3)
    rows = []
    for _ in range(n):
        ids, length = torch.randint(10, (5,), generator=generator), int(torch.randint(2, 6, (), generator=generator))
        mask = torch.arange(5) < length
        rows.append({"input_ids": ids, "attention_mask": mask.long(), label: torch.where(mask, ids % 4, -100)})
    return DataLoader(rows, batch_size=8)  # type: ignore[arg-type]


def prepared_tokens() -> hrat.PreparedModel:
    torch.manual_seed(0)
    batch = next(iter(sequences()))
    return hrat.prepare(Tokens(), "generic-4bit", {key: batch[key] for key in ("input_ids", "attention_mask")})


def test_dicts_with_labels_train_and_are_measured_everywhere() -> None:
    model, loader = prepared_tokens(), sequences()
    hrat.calibrate(model, loader)
    result = fit(model, loader, loader, epochs=12, lr=2e-2, progress=False)
    assert result.history[-1]["accuracy"] > 0.8 > result.history[0]["accuracy"]
    without_error = accuracy(model, loader)
    chips = hrat.program(hrat.deploy(model), chips=2)
    simulated = hrat.simulate(chips, loader)
    assert simulated.accuracies is not None
    assert min(simulated.accuracies) > without_error - 0.2
    assert hrat.simulate(chips, loader, limit=10).n_images == 10
    assert hrat.estimate(chips, loader, limit=3).n_images == 3
    budget = hrat.restriction_budget(model, loader, chips=2)
    assert budget.n_images == 24
    assert budget.ideal == pytest.approx(without_error, abs=0.2)
    assert choose_redundancy(model, loader, extra_devices=500, trials=1, images=10).loss > 0


def test_the_label_may_have_another_key() -> None:
    model, loader = prepared_tokens(), sequences(label="tags")
    with pytest.raises(DataError, match="expected batches with a label"):
        accuracy(prepared_tokens(), [{"input_ids": torch.zeros(2, 5).long(), "attention_mask": torch.ones(2, 5)}])
    fit(model, loader, loader, label_key="tags", **QUICK)
    chips = hrat.program(hrat.deploy(model))
    assert hrat.simulate(chips, loader, label_key="tags").accuracies
    with pytest.raises(DataError, match="no entry 'tag', named as its label"):
        fit(model, loader, label_key="tag", **QUICK)


@pytest.mark.parametrize(
    "loss",
    [
        None,
        lambda out, y: out["loss"],
        lambda out, y: F.cross_entropy(out["logits"].flatten(0, 1), y.flatten()),
    ],
)
def test_a_network_that_takes_labels_trains_by_its_own_loss_or_another(loss: Callable[..., Tensor] | None) -> None:
    found = []
    for given in (None, loss):
        torch.manual_seed(0)
        model = Tokens()
        found.append(fit(model, sequences(), loss=given, **QUICK).history[0])
    assert found[1]["loss"] == pytest.approx(found[0]["loss"], rel=1e-5)
    assert found[1]["accuracy"] == found[0]["accuracy"]
    with pytest.raises(DataError, match="label_smoothing acts on hrat's cross entropy"):
        fit(Tokens(), sequences(), label_smoothing=0.1, **QUICK)


class Nested(nn.Module):
    """A dict of tuples and dicts as one argument."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(6, 5), nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, parts: dict[str, Any]) -> Tensor:
        signal, further = parts["pair"][0], parts["more"]["signal"]
        return self.head(torch.relu(self.a(signal) + self.b(further)))  # type: ignore[no-any-return]


def test_nested_arguments_train_and_are_simulated() -> None:
    torch.manual_seed(0)
    parts = {"pair": (torch.randn(8, 6), torch.zeros(8)), "more": {"signal": torch.randn(8, 3)}}
    labels = torch.arange(8) % 2
    model = hrat.prepare(Nested(), "generic-4bit", {"parts": parts})
    for batch in (({"parts": parts}, labels), {"parts": parts, "label": labels}):
        calibrate_scales(model, [batch])
        fit(model, [batch], accumulate=2, **QUICK)
    chips = hrat.program(hrat.deploy(model))
    result = hrat.simulate(chips, [({"parts": parts}, labels)])
    part = hrat.simulate(chips, {"parts": parts}, limit=3)
    torch.testing.assert_close(part.value, result.value[:, :3])


class Masked(nn.Module):
    """Attention under a mask that is the same for all images, and two signals."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        scores = (self.q(x) @ x.transpose(1, 2)).masked_fill(~mask, -1e4)
        return self.head((scores.softmax(-1) @ x).mean(1))  # type: ignore[no-any-return]


def test_parts_of_a_batch_keep_a_mask_whole() -> None:
    x, mask, labels = torch.randn(8, 5, 6), torch.ones(5, 5, dtype=torch.bool).tril(), torch.arange(8) % 3
    found = []
    for accumulate in (1, 2):
        torch.manual_seed(0)
        model = Masked().double()
        fit(model, [((x.double(), mask), labels)] * 3, accumulate=accumulate, **QUICK)
        found.append(model.head.weight.detach().clone())
    torch.testing.assert_close(*found, rtol=0, atol=1e-9)
