"""From files to a spec: everything around the fits themselves."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import hrat
from hrat.errors import DataError
from hrat.measurements import EXAMPLES, example_csv, example_truth
from hrat.measurements.synthetic import sweep_csv, write_examples
from hrat.spec import spec_from_toml
from measurements.made_files import Write


@pytest.fixture(scope="module")
def fit() -> hrat.DeviceFit:
    return hrat.fit_device([example_csv(name) for name in EXAMPLES], name="mine")


def test_the_examples_are_small_synthetic_and_what_the_generator_writes(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    script = importlib.util.spec_from_file_location("generator", root / "examples" / "synthetic_device.py")
    assert script is not None
    write_examples(tmp_path)
    for name in EXAMPLES:
        text = example_csv(name).read_text()
        assert text == (tmp_path / f"{name}.csv").read_text()
        assert text.startswith("# SYNTHETIC")
    assert sum(example_csv(name).stat().st_size for name in EXAMPLES) < 300_000
    with pytest.raises(hrat.HratError, match="there is no example 'sweeps'"):
        example_csv("sweeps")


def test_the_example_is_fitted_to_its_truth(fit: hrat.DeviceFit) -> None:
    truth = example_truth()
    for name in ("n_set", "n_reset", "nonlinearity_set", "nonlinearity_reset"):
        part = fit.parameter(name)
        assert abs(part.value - getattr(truth.soft_bounds, name)) < 3 * part.error  # type: ignore[operator]
        assert part.error < 0.1 * part.value  # type: ignore[operator]
    pulses = fit.spec.pulses
    assert (pulses.set_V, pulses.reset_V, pulses.set_width_s, pulses.reset_width_s) == (1.8, 1.6, 1e-7, 2e-7)
    assert fit.device == fit.spec.device
    assert fit.device.g_max_S == pytest.approx(120e-6, rel=0.005)


def test_the_preset_is_like_any_other(fit: hrat.DeviceFit, tmp_path: Path) -> None:
    path = fit.save(tmp_path / "mine.toml")
    assert hrat.load_spec(path) == fit.spec
    assert spec_from_toml(path.read_text()).name == "mine"
    again = hrat.fit_device([example_csv(name) for name in EXAMPLES], name="mine").save(tmp_path / "again.toml")
    assert again.read_bytes() == path.read_bytes()  # no date in it
    sources = fit.spec.sources
    assert sources["soft_bounds.n_set"].startswith("fitted to sweep.csv; ")
    assert "12 devices" in sources["soft_bounds.n_set"]
    assert "+-" in sources["soft_bounds.n_set"]
    assert sources["retention.relax_sigma_S"].startswith("fitted to retention.csv; retention, 300 devices")
    assert sources["programming.sigma_poly_S"].startswith("fitted to write-verify.csv")
    assert sources["array.rows"].startswith("chosen:")  # of the base


def test_a_chip_can_be_programmed_with_it(fit: hrat.DeviceFit) -> None:

    spec = fit.spec.replace({"programming.scheme": "write_verify", "faults.limit_faults": False})
    model = hrat.prepare(nn.Linear(20, 10), spec, torch.randn(4, 20)).eval()
    chip = hrat.program(hrat.deploy(model), seed=0)
    misses = torch.cat([part.flatten() for part in chip.errors_S(next(iter(chip.layers)))])
    assert float(misses.abs().mean()) < 0.05 * spec.device.g_range_S


def test_the_base_gives_the_rest_and_gives_way(write: Write, sweeps: str) -> None:
    fit = hrat.fit_device(write(sweeps, "batch7.csv"), base="yao2020")
    assert (fit.spec.name, fit.base) == ("batch7", "yao2020")
    assert fit.spec.array == hrat.load_spec("yao2020").array
    assert fit.spec.device.g_max_S == pytest.approx(120e-6, rel=0.01)
    with pytest.raises(hrat.HratError, match="there is no preset 'yao2021'; did you mean 'yao2020'"):
        hrat.fit_device(write(sweeps), base="yao2021")
    with pytest.raises(DataError, match="expected auto, soft_bounds, linear_step or jump_table, got 'vteam'"):
        hrat.fit_device(write(sweeps), model="vteam")  # type: ignore[arg-type]


def test_a_file_for_each_device(write: Write, truth: hrat.HardwareSpec, sweeps: str) -> None:
    lines = sweeps.strip().split("\n")
    header = "cycle,pulse,voltage_V,width_ns,conductance_uS"
    paths = [
        write(
            "\n".join([header, *(row.partition(",")[2] for row in lines[2:] if row.startswith(f"d{d},"))]), f"d{d}.csv"
        )
        for d in range(6)
    ]
    apart, together = hrat.fit_device(paths), hrat.fit_device(write(sweeps))
    assert apart.parameter("n_set").value == together.parameter("n_set").value
    assert apart.parameter("device_spread_rel").value == together.parameter("device_spread_rel").value


def test_fit_prints_everything(fit: hrat.DeviceFit) -> None:
    text = str(fit)
    for words in ("soft_bounds.n_set = ", "+-", "set sweeps: 48, median rms", "sweep.csv: pulse sweep, 5,808 of 5,808"):
        assert words in text


def test_progress_is_told(write: Write, sweeps: str) -> None:
    told: list[tuple[str, float]] = []
    hrat.fit_device(write(sweeps), progress=lambda what, done: told.append((what, done)))
    assert ("reading sweep.csv", 1.0) in told
    assert told[-1] == ("fitting", 1.0)


@pytest.mark.slow
def test_ten_million_rows(tmp_path: Path, truth: hrat.HardwareSpec) -> None:
    """270 MB: read in pieces, in a minute and 3 GB; see docs/device.md for what was measured."""
    head, *rows = sweep_csv(truth, devices=100, cycles=8, pulses=60, seed=0).split("\n")[1:-1]
    path = tmp_path / "large.csv"
    with path.open("w") as file:
        file.write(head + "\n")
        for part in range(10_000_000 // len(rows) + 1):
            file.writelines(f"p{part}{row}\n" for row in rows)
    fit = hrat.fit_device(path)
    assert fit.cleaning[0].n_kept == fit.cleaning[0].n_rows > 10_000_000
    assert fit.parameter("n_set").value == pytest.approx(40, rel=0.03)
    path.unlink()


def test_fitting_needs_no_torch(sweeps: str, write: Write) -> None:
    code = f"import sys, hrat; hrat.fit_device({str(write(sweeps))!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
