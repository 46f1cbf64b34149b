from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

import hrat
from hrat.errors import HratError
from hrat.measurements import EXAMPLES, example_csv
from hrat.reports import device_figure, device_sentences
from hrat.reports.device.curves import retention_spread_S, staircase
from hrat.reports.device.sentences import siemens_text, time_text
from hrat.spec import preset_names


@pytest.mark.parametrize("name", ["generic-4bit", "wan2022", "ibm-pcm", "jo2010"])
def test_a_preset_is_drawn_whole(tmp_path: Path, name: str) -> None:
    picture = imread(device_figure(hrat.load_spec(name), tmp_path / "device.png"))
    assert picture.shape[1] == 1650
    for edge in (picture[:4], picture[-4:], picture[:, :4], picture[:, -4:]):
        assert float(edge[..., :3].min()) > 0.99  # nothing is cut off
    assert float(picture[..., :3].min()) < 0.2


@pytest.mark.parametrize("kinds", [EXAMPLES, ("sweep",), ("retention",), ("write-verify",)])
def test_a_fit_is_drawn_with_its_data(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    fit = hrat.fit_device([example_csv(kind) for kind in kinds], name="mine")
    text = device_figure(fit, tmp_path / "fit.svg").read_text()
    assert "<!-- mine: the fit beside the measurements -->" in text
    assert ("dots and bars: the same of the measurements" in text) == (kinds != ("write-verify",))
    assert ("measured spread, all states" in text) == ("retention" in kinds)
    again = device_figure(fit, tmp_path / "again.svg").read_text()
    assert again == text


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HratError, match="expected a picture that ends in one of"):
        device_figure(hrat.load_spec("ideal"), tmp_path / "device.txt")


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_has_words(name: str) -> None:
    spec = hrat.load_spec(name)
    sentences = device_sentences(spec)
    assert siemens_text(spec.device.g_max_S, 4) in sentences[0]
    assert sum(sentence.startswith(("set, ", "reset, ")) for sentence in sentences) == 2
    if not spec.retention.relax_sigma_S and not spec.retention.drift_nu_mean:
        assert "nothing is known of its retention" in sentences


def test_words_of_units() -> None:
    assert [time_text(s) for s in (5e-8, 3e-4, 2.0, 90.0, 86_400.0)] == [
        "50 ns",
        "300 us",
        "2 s",
        "1 min 30 s",
        "1 day",
    ]
    assert [siemens_text(g) for g in (4e-5, 3.08e-9, 2e-3)] == ["40 uS", "3.08 nS", "2 mS"]


def test_a_staircase_is_that_of_the_formula() -> None:
    spec = hrat.load_spec("generic-4bit", {"cycle_spread_rel": 0.0, "device_spread_rel": 0.0})
    sweep = staircase(spec, up=True, pulses=64)
    x = (1 - np.exp(-np.arange(65) / 64)) / (1 - np.exp(-1))
    np.testing.assert_allclose(sweep.mean_S.numpy(), 50e-6 + 150e-6 * x, rtol=1e-9)
    np.testing.assert_allclose(sweep.low_S.numpy(), sweep.high_S.numpy(), rtol=1e-9)
    noisy = staircase(hrat.load_spec("generic-4bit"), up=False)
    assert bool((noisy.low_S <= noisy.mean_S).all())
    assert float(noisy.mean_S[-1]) < 51e-6


def test_the_spread_after_programming_is_that_of_the_spec() -> None:
    spec = hrat.load_spec("wan2022")
    _, spreads = retention_spread_S(spec, 20e-6, [1.0, 86_400.0])
    for spread, row in zip(spreads, spec.retention.relax_sigma_S, strict=False):
        assert spread == pytest.approx(sum(c * 0.5**k for k, c in enumerate(row)), rel=0.02)
