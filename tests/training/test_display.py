"""What a person sees of a training that has no terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from hrat.training import Display, fit, has_bfloat16, logs, processor


class Clock:
    """Time that passes on request."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(logs, "time", clock)
    return clock


def test_a_line_comes_at_least_every_half_minute(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Display("plain", 400) as display:
        for step in range(101, 201):  # a run that goes on behind step 100
            clock.now_s += 1.0
            display.step(step, "loss 0.500  accuracy 90.00%")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0] == "plain: step 130/400  loss 0.500  accuracy 90.00%  0:04:30 left"


def test_no_line_where_the_epochs_say_enough_or_none_is_wanted(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for wanted in (True, False):
        with Display("plain", 400, wanted=wanted) as display:
            for epoch in range(3):
                for _ in range(29):
                    clock.now_s += 1.0
                    display.step(1, "")
                display.epoch({"epoch": epoch + 1, "loss": 0.5}, 3)
            clock.now_s += 0.0 if wanted else 100.0
            display.step(1, "")
    assert capsys.readouterr().err.splitlines() == [f"plain: epoch {epoch}/3  loss 0.5" for epoch in (1, 2, 3)]


def test_fit_says_where_it_stands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(logs, "LINE_EVERY_S", 0.0)
    batches = [(torch.randn(4, 3), torch.arange(4) % 2)] * 3
    fit(nn.Linear(3, 2), batches, epochs=1, title="small")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        *(f"small: step {step}/3" for step in (1, 2, 3)),
        "small: epoch 1/1",
    ]
    assert "loss" in lines[1]
    assert "accuracy" in lines[1]
    assert lines[1].endswith("left")


def test_the_processors_flags_say_whether_it_has_bfloat16(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(processor, "CPU_INFO", info)
    for flags, has in [("fpu avx512_bf16 avx", True), ("fpu amx_bf16", True), ("fpu avx512f avx512_bf16x", False)]:
        info.write_text(f"flags\t: {flags}\n")
        assert has_bfloat16() == has_bfloat16("cpu") == has
    assert not has_bfloat16("meta")
