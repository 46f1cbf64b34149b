"""Training: it learns, it can be killed at any moment, and it says what is wrong."""

import csv
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import hrat
from hrat.errors import HratError, TrainingError
from hrat.nn import Scale, calibrate_scales
from hrat.training import FitOptions, accuracy, fit, parameter_groups
from hrat.training.checkpoint import load_state, save_state
from hrat.training.schedule import frozen_from_epoch, lr_factor, noise_strength


def images(n: int = 96) -> TensorDataset:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(n, 12, generator=generator)
    return TensorDataset(x, (x[:, :3] + 0.5 * x[:, 3:6]).argmax(1))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))


def setting(seed: int = 1, own_generator: bool = True) -> tuple[nn.Module, DataLoader]:
    noise = torch.Generator().manual_seed(seed) if own_generator else None
    model = hrat.prepare(network(), "generic-3bit-harsh", images()[:32][0], generator=noise)
    torch.manual_seed(seed)
    return model, DataLoader(images(), batch_size=16, shuffle=True, drop_last=True)


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


class Stops:
    """A loader that is killed, or interrupted, after so many batches."""

    def __init__(self, loader: DataLoader, after: int, interrupt: bool = False) -> None:
        self.loader, self.left, self.interrupt = loader, after, interrupt
        self.sampler, self.batch_sampler = loader.sampler, loader.batch_sampler

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self):
        for batch in self.loader:
            if self.left == 0:
                if not self.interrupt:
                    raise SystemError("killed")
                os.kill(os.getpid(), signal.SIGINT)
            self.left -= 1
            yield batch


QUICK = {"epochs": 3, "lr": 1e-2, "checkpoint_every_s": 0.0, "progress": False}


@pytest.mark.parametrize("own_generator", [True, False])
@pytest.mark.parametrize("stop", [1, 5, 6, 7, 14, 17])
def test_a_run_killed_at_any_step_ends_with_the_same_weights(tmp_path: Path, stop: int, own_generator: bool) -> None:
    model, loader = setting(own_generator=own_generator)
    whole = fit(model, loader, loader, folder=tmp_path / "whole", **QUICK)

    model_b, loader_b = setting(own_generator=own_generator)
    with pytest.raises(SystemError, match="killed"):
        fit(model_b, Stops(loader_b, stop), loader_b, folder=tmp_path / "killed", **QUICK)
    torch.manual_seed(999)  # another process starts with other random numbers
    model_c, _ = setting(seed=555, own_generator=own_generator)
    resumed = fit(model_c, loader_b, loader_b, folder=tmp_path / "killed", **QUICK)
    assert_same(weights(model), weights(model_c))
    assert resumed.history == whole.history
    assert resumed.best_val_accuracy == whole.best_val_accuracy


def test_ctrl_c_saves_the_state_and_the_run_goes_on_from_it(tmp_path: Path) -> None:
    model, loader = setting()
    fit(model, loader, folder=tmp_path / "whole", **QUICK)
    options = {**QUICK, "checkpoint_every_s": 1e9}
    other, other_loader = setting()
    with pytest.raises(KeyboardInterrupt):
        fit(other, Stops(other_loader, 8, interrupt=True), folder=tmp_path / "stopped", **options)
    again, _ = setting(seed=3)
    fit(again, other_loader, folder=tmp_path / "stopped", **options)
    assert_same(weights(model), weights(again))


def test_a_process_killed_by_the_system_goes_on(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import os, signal, sys
        sys.path.insert(0, sys.argv[3])
        from training.test_fit import QUICK, Stops, fit, setting

        class Kill(Stops):
            def __iter__(self):
                for batch in self.loader:
                    if self.left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    self.left -= 1
                    yield batch

        model, loader = setting()
        fit(model, Kill(loader, int(sys.argv[2])) if int(sys.argv[2]) else loader, folder=sys.argv[1], **QUICK)
        """
    )
    tests = str(Path(__file__).parents[1])
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path), "9", tests], check=False)
    assert killed.returncode == -signal.SIGKILL
    subprocess.run([sys.executable, "-c", script, str(tmp_path), "0", tests], check=True)
    model, loader = setting()
    fit(model, loader, **QUICK)
    assert_same(weights(model), torch.load(tmp_path / "last.pt", weights_only=True)["model"])


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    model, loader = setting()
    fit(model, loader, folder=tmp_path, **QUICK)
    other, _ = setting(seed=4)
    result = fit(other, Stops(loader, 0), folder=tmp_path, **QUICK)
    assert_same(weights(model), weights(other))
    assert result.steps == 18


def test_resume_false_begins_anew(tmp_path: Path) -> None:
    model, loader = setting()
    fit(model, loader, folder=tmp_path, **QUICK)
    fresh, loader = setting()
    result = fit(fresh, loader, folder=tmp_path, resume=False, **{**QUICK, "epochs": 1})
    assert len(result.history) == 1


def test_it_learns_and_reports_what_a_chip_will_do(tmp_path: Path) -> None:
    model, loader = setting()
    before = accuracy(model, loader, chips=3)
    result = fit(model, loader, loader, folder=tmp_path, epochs=20, lr=2e-2, progress=False)
    assert before < 0.6
    assert result.best_val_accuracy is not None
    assert result.best_val_accuracy > 0.8
    assert not model.training
    chips = hrat.program(hrat.deploy(model), chips=5)
    assert abs(hrat.simulate(chips, loader).mean - accuracy(model, loader, chips=5)) < 0.1


def test_any_module_can_be_trained() -> None:
    model = network()
    fit(model, DataLoader(images(), batch_size=16), epochs=15, lr=2e-2, progress=False)
    assert accuracy(model, DataLoader(images(), batch_size=16)) > 0.8


def test_metrics_are_written_as_csv_and_to_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    model, loader = setting()
    result = fit(model, loader, loader, folder=tmp_path, tensorboard=True, **QUICK)
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == [row["loss"] for row in result.history]
    assert {"epoch", "loss", "accuracy", "val_accuracy", "lr"} == set(rows[0])
    assert list((tmp_path / "tensorboard").iterdir())
    assert (tmp_path / "best.pt").is_file()


def test_a_loss_that_is_not_a_number_stops_at_once(tmp_path: Path) -> None:
    model, _ = setting()
    x, y = images()[:32]
    x[20, 3] = float("nan")
    with pytest.raises(TrainingError, match=r"loss became nan at step 1 .*input of this batch"):
        fit(model, DataLoader(TensorDataset(x, y), batch_size=16), folder=tmp_path, **QUICK)


def test_diverged_weights_are_named() -> None:
    model, loader = setting()
    with torch.no_grad():
        model.graph.get_submodule("4").weight.fill_(float("inf"))
    with pytest.raises(TrainingError, match=r"first parameter that is not finite: graph\.4\.weight"):
        fit(model, loader, **QUICK)


def test_a_checkpoint_of_another_network_or_other_options_is_refused(tmp_path: Path) -> None:
    model, loader = setting()
    fit(model, loader, folder=tmp_path, **QUICK)
    with pytest.raises(TrainingError, match=r"trained with lr=0\.01, now 0\.5"):
        fit(model, loader, folder=tmp_path, **{**QUICK, "lr": 0.5})
    other = nn.Sequential(nn.Linear(12, 3))
    with pytest.raises(TrainingError, match="another network"):
        fit(other, loader, folder=tmp_path, **QUICK)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    model, loader = setting()
    fit(model, loader, folder=tmp_path, **QUICK)
    whole = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match="damaged"):
        fit(model, loader, folder=tmp_path, **QUICK)


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, loader = setting()
    with pytest.raises(SystemError):
        fit(model, Stops(loader, 9), folder=tmp_path, **QUICK)
    before = (tmp_path / "last.pt").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    model, loader = setting()
    with pytest.raises(OSError, match="No space left"):
        fit(model, loader, folder=tmp_path, **QUICK)
    assert (tmp_path / "last.pt").read_bytes() == before
    assert not list(tmp_path.glob(".*part"))


def test_unknown_options_name_the_nearest() -> None:
    model, loader = setting()
    with pytest.raises(HratError, match="did you mean 'epochs'"):
        fit(model, loader, epoch=3)
    with pytest.raises(TrainingError, match="positive learning rate"):
        FitOptions(lr=0.0)
    with pytest.raises(TrainingError, match=r"freeze.* in \[0, 1\]"):
        FitOptions(freeze=1.5)


def test_scales_and_batch_norm_do_not_decay() -> None:
    model, _ = setting()
    groups = parameter_groups(model, lr=0.1, weight_decay=0.3, scale_lr=0.01)
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert decay[id(parameter)] == (0.3 if name.endswith(".weight") and parameter.ndim == 2 else 0.0), name
        assert rate[id(parameter)] == (0.01 if "log_" in name else 0.1), name


def test_schedules_begin_and_end_where_they_should() -> None:
    assert lr_factor(0.0, 0.1) < 0.01
    assert lr_factor(0.1, 0.1) == pytest.approx(1.0)
    assert lr_factor(1.0, 0.1) == pytest.approx(0.0)
    assert [noise_strength(d, 0.2) for d in (0.0, 0.1, 0.2, 0.9)] == [0.0, 0.5, 1.0, 1.0]
    assert noise_strength(0.0, 0.0) == 1.0
    assert frozen_from_epoch(10, 0.2) == 8
    assert frozen_from_epoch(10, 0.0) == 10
    assert frozen_from_epoch(1, 1.0) == 1


def test_a_checkpoint_for_other_hardware_is_not_taken_for_ones_own(tmp_path: Path) -> None:
    model, loader = setting()
    fit(model, loader, folder=tmp_path, **QUICK)
    other = hrat.prepare(network(), "generic-4bit", images()[:32][0])
    with pytest.raises(TrainingError, match="other hardware"):
        fit(other, loader, folder=tmp_path, **QUICK)
    another_form = hrat.prepare(network(), "generic-3bit-harsh", images()[:32][0], batch_norm="slice")
    with pytest.raises(TrainingError, match="prepared in another way"):
        fit(another_form, loader, folder=tmp_path, **QUICK)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(12, 8), nn.Linear(12, 8)
        self.out = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = torch.relu(self.a(x) + self.b(y))
        return {"logits": self.out(hidden), "hidden": hidden}


def test_several_inputs_and_outputs_with_a_loss_of_ones_own() -> None:
    torch.manual_seed(0)
    x, y = images()[:]
    batches = [((x[k : k + 16], x[k : k + 16]), y[k : k + 16]) for k in range(0, 96, 16)]
    model = hrat.prepare(TwoInputs(), "generic-4bit", (x[:32], x[:32]))
    cross_entropy = nn.functional.cross_entropy
    fit(model, batches, loss=lambda out, y: cross_entropy(out["logits"], y), epochs=20, lr=2e-2, progress=False)
    result = hrat.simulate(hrat.program(hrat.deploy(model)), batches)
    assert result.mean > 0.8


def test_an_empty_loader_has_no_accuracy() -> None:
    model, _ = setting()
    with pytest.raises(TrainingError, match="at least one image"):
        accuracy(model, [])


def test_one_process_at_a_time_trains_into_a_folder(tmp_path: Path) -> None:
    model, loader = nn.Linear(4, 3), [(torch.randn(8, 4), torch.zeros(8, dtype=torch.int64))]
    with FileLock(tmp_path / ".lock"), pytest.raises(TrainingError, match="another process trains into"):
        fit(model, loader, epochs=1, folder=tmp_path, progress=False)
    assert not (tmp_path / "last.pt").exists()
    fit(model, loader, epochs=1, folder=tmp_path, progress=False)  # once the other one has ended
    assert (tmp_path / "last.pt").is_file()


# ---- first scales ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [10.0, 0.1])
def test_scales_that_are_far_off_are_calibrated_before_the_first_step_where_asked_for(factor: float) -> None:
    def first_scales(factor: float) -> dict[str, float]:
        model, loader = setting()
        scales = {name: m for name, m in model.named_modules() if isinstance(m, Scale)}
        for scale in scales.values():
            scale.set(float(scale()) * factor)
        state = {key: value.clone() for key, value in model.state_dict().items() if "running" in key}
        fit(model, loader, epochs=1, lr=1e-12, scale_lr=1e-12, first_scales="calibrated", progress=False)
        assert state.keys() <= model.state_dict().keys()
        return {name: float(scale()) for name, scale in scales.items()}

    usual, off = first_scales(1.0), first_scales(factor)
    assert off == pytest.approx(usual, rel=1e-3)
    model, _ = setting()
    given = {name: float(m()) for name, m in model.named_modules() if isinstance(m, Scale)}
    for name, alpha in usual.items():
        assert 0.3 < alpha / given[name] < 3.5  # near to what `prepare` finds by its example


def test_calibration_before_training_leaves_statistics_and_random_numbers_alone() -> None:
    model, loader = setting()
    before, state = weights(model), torch.get_rng_state()
    calibrate_scales(model.train(), [next(iter(images_of(loader)))], trained=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    changed = {key for key, value in weights(model).items() if not torch.equal(value, before[key])}
    assert changed
    assert all("log_alpha" in key for key in changed)


def images_of(loader: DataLoader) -> list[torch.Tensor]:
    dataset = loader.dataset
    assert isinstance(dataset, TensorDataset)
    return [dataset.tensors[0][:32]]


def test_a_run_that_was_begun_before_an_option_came_goes_on(tmp_path: Path) -> None:
    model, loader = setting()
    fit(model, loader, epochs=1, folder=tmp_path, progress=False)
    path = tmp_path / "last.pt"
    state = load_state(path)
    del state["identity"]["options"]["first_scales"]
    save_state(path, state)
    model, loader = setting()
    with pytest.raises(TrainingError, match="first_scales=as_given, now calibrated"):
        fit(model, loader, epochs=1, folder=tmp_path, progress=False, first_scales="calibrated")
    fit(model, loader, epochs=1, folder=tmp_path, progress=False)
