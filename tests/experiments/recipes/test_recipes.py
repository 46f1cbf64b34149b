"""Recipes, runs in folders, and the comparison of methods."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hrat
from hrat.errors import ArtifactError, HratError, TrainingError
from hrat.experiments import METHODS, RecipeError, build_network, compare, load_recipe, load_run, recipe_names, train
from hrat.experiments.recipes import VariationAware, mapped, prepared_for
from hrat.experiments.recipes.networks import resnet, vgg, vgg16
from hrat.nn import PreparedModel, crossbar_layers, freeze_batch_norm, set_noise_strength
from hrat.nn.prepared import layers_with_scales
from hrat.training import ArrayDataset, DataSplits, fit, load_data, make_loader, save_weights


@pytest.fixture(scope="module")
def digits() -> DataSplits:
    data = load_data("mnist5k")
    return replace(data, train=data.train.subset(512), test=data.test.subset(200))


def quick(name: str = "fc4-mnist5k", epochs: int = 2):
    recipe = load_recipe(name)
    return replace(recipe, name="quick", chips=3, fit=recipe.fit.replace(epochs=epochs))


def test_every_recipe_loads_and_its_network_is_the_papers() -> None:
    names = {"fc4-mnist", "fc4-mnist5k", "lenet5-mnist", "lenet5-mnist5k", "vgg16-cifar10-short"}
    names |= {"vgg16-cifar10", "vgg16-cifar100", "resnet20-cifar10"}
    assert names <= set(recipe_names())
    shapes = {}
    for name in recipe_names():
        recipe = load_recipe(name)
        network = build_network(recipe.network)
        shapes[recipe.network] = [tuple(p.shape) for n, p in network.named_parameters() if p.ndim >= 2]
        image = (3, 32, 32) if recipe.data.startswith("cifar") else (1, 28, 28)
        assert network.eval()(torch.zeros(2, *image)).shape == (2, 100 if recipe.data == "cifar100" else 10)
    assert shapes["fc4"] == [(256, 784), (128, 256), (64, 128), (10, 64)]
    assert shapes["lenet5"] == [(6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84)]


def test_vgg16_is_the_published_one() -> None:
    """The number of parameters that is given everywhere for VGG-16 with batch norm and one linear layer on CIFAR-10."""
    assert sum(p.numel() for p in build_network("vgg16").parameters()) == 14_728_266
    convolutions = [m for m in build_network("vgg16").modules() if isinstance(m, torch.nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    for name, divisor in [("vgg16-quarter", 4), ("vgg16-eighth", 8)]:
        narrow = [m for m in build_network(name).modules() if isinstance(m, torch.nn.Conv2d)]
        assert [m.out_channels * divisor for m in narrow] == [m.out_channels for m in convolutions]
    assert vgg16(width=2, classes=100).eval()(torch.zeros(3, 3, 32, 32)).shape == (3, 100)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("vgg11", 9_225_984 + 5_130),
        ("vgg13", 9_410_880 + 5_130),
        ("vgg19", 20_035_392 + 5_130),
        ("resnet20", 272_474),  # with projections at the shortcuts that halve the image
        ("resnet32", 466_906),
        ("resnet18", 11_689_512),
        ("resnet50", 25_557_032),
    ],
)
def test_networks_have_the_published_numbers_of_parameters(name: str, parameters: int) -> None:
    network = build_network(name)
    assert sum(p.numel() for p in network.parameters()) == parameters
    x = torch.zeros(
        2, 3, 64 if name in ("resnet18", "resnet50") else 32, 64 if name in ("resnet18", "resnet50") else 32
    )
    assert network.eval()(x).shape == (2, 1000 if name in ("resnet18", "resnet50") else 10)


def test_the_short_vgg16_goes_all_the_way(tmp_path: Path) -> None:
    """On a few made images: it trains with augmentation, is read back, deploys, and its chips are simulated."""
    colours = torch.arange(90) % 10
    images = (20 * colours[:, None, None, None] + torch.randint(50, (90, 3, 32, 32))).to(torch.uint8)
    whole = ArrayDataset(images, colours, mean=(0.5,) * 3, std=(0.25,) * 3)
    rows = torch.arange(90)
    data = DataSplits(
        name="made", train=whole.take(rows[:64]), val=None, test=whole.take(rows[64:]), classes=tuple("0123456789")
    )
    recipe = load_recipe("vgg16-cifar10-short")
    assert recipe.augment == "flip"
    recipe = replace(recipe, batch_size=32, fit=recipe.fit.replace(epochs=2))
    run = train(recipe, tmp_path, data=data, progress=False)
    assert len(crossbar_layers(run.model)) == 14
    chips = hrat.program(hrat.deploy(load_run(tmp_path, data=data).model), chips=2)
    result = hrat.simulate(chips, data.test[list(range(26))][0])
    assert result.value.shape == (2, 26, 10)
    with hrat.use_chip(run.model, chips[0]), torch.no_grad():
        torch.testing.assert_close(run.model(data.test[list(range(26))][0]), result.value[0], rtol=0, atol=1e-3)


def test_a_run_of_an_older_version_is_gone_on_with(tmp_path: Path, digits: DataSplits) -> None:
    """Its recipe lacks the fields that came since; they have their defaults."""
    train(quick(), tmp_path, data=digits, progress=False)
    info = json.loads((tmp_path / "run.json").read_text())
    del info["recipe"]["augment"]
    (tmp_path / "run.json").write_text(json.dumps(info))
    assert train(quick(), tmp_path, data=digits, progress=False).accuracy_without_error == info["software"]


def test_bad_recipes_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'lenet5-mnist'"):
        load_recipe("lenet-mnist")
    path = tmp_path / "mine.toml"
    for text, message in [
        ('network = "fc4"\ndata = "mnist5k"\nbatchsize = 3', "did you mean 'batch_size'"),
        ('network = "fc5"\ndata = "mnist5k"', "unknown network 'fc5'"),
        ('network = "fc4"', "lacks data"),
        (
            'network = "fc4"\ndata = "mnist5k"\naugment = "mixup"',
            "unknown augmentation 'mixup'; expected one of flip",
        ),
        ('network = "fc4"\ndata = "mnist5k"\nbatch_size = 1', "batch_size >= 2"),
        ("network = ", "not valid TOML"),
        (f"a{'.a' * 500} = 1", "not valid TOML: expected at most 16 levels"),
        ('name = """a\n.control"""\nnetwork = "fc4"\ndata = "mnist5k"', "the name of a recipe: expected a name"),
        (
            'description = "a\\u001b[2J"\nnetwork = "fc4"\ndata = "mnist5k"',
            "recipe 'mine': description: expected up to",
        ),
    ]:
        path.write_text(text)
        with pytest.raises(RecipeError, match=message):
            load_recipe(path)
    path.write_text('network = "fc4"\ndata = "mnist5k"\n[fit]\nepoch = 3')
    with pytest.raises(RecipeError, match="did you mean 'epochs'"):
        load_recipe(path)


@pytest.mark.parametrize("method", [key for key in METHODS if key != "float"])
def test_a_run_is_read_back_as_it_was_trained(tmp_path: Path, digits: DataSplits, method: str) -> None:
    run = train(quick(), tmp_path, method=method, data=digits, progress=False)
    again = load_run(tmp_path, data=digits)
    assert again.accuracy_without_error == run.accuracy_without_error
    x = digits.test[[0, 1, 2]][0]
    assert torch.equal(run.model(x), again.model(x))
    assert run.accuracy_without_error > (0.15 if method == "hrat-no-scales" else 0.3)  # one volt per unit learns slowly
    third = train(quick(), tmp_path, method=method, data=digits, progress=False)  # finished: nothing to do
    assert torch.equal(run.model(x), third.model(x))


def test_a_run_of_before_a_field_of_the_spec_came_is_read_back(tmp_path: Path, digits: DataSplits) -> None:
    run = train(quick(), tmp_path, data=digits, progress=False)
    info = json.loads((tmp_path / "run.json").read_text())
    del info["spec"]["periphery"]["amplifier_offset_V"]
    (tmp_path / "run.json").write_text(json.dumps(info))
    save_weights(
        tmp_path / "model.pt", run.model, {key: info[key] for key in ("recipe", "spec", "method", "seed", "data")}
    )
    again = load_run(tmp_path, data=digits)
    x = digits.test[[0, 1, 2]][0]
    assert torch.equal(run.model(x), again.model(x))
    third = train(quick(), tmp_path, data=digits, progress=False)  # finished: nothing to do
    assert torch.equal(run.model(x), third.model(x))


def test_a_folder_with_another_run_is_not_overwritten(tmp_path: Path, digits: DataSplits) -> None:
    train(quick(), tmp_path, data=digits, progress=False)
    with pytest.raises(HratError, match=r"another seed.*--fresh"):
        train(quick(), tmp_path, seed=1, data=digits, progress=False)
    with pytest.raises(HratError, match="another recipe and spec"):
        train(quick(epochs=3), tmp_path, spec="yao2020", data=digits, progress=False)
    train(quick(), tmp_path, seed=1, resume=False, data=digits, progress=False)
    assert load_run(tmp_path, data=digits).seed == 1


WHOLE = """network = "fc4"\ndata = "mnist5k"\n"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"network = ", "not valid TOML"),
        (b"\xff\xfe\x00", "not a text in UTF-8"),
        (b"", "lacks network, data"),
        (WHOLE + "batch_size = 'many'", "batch_size: expected a whole number, got 'many'"),
        (WHOLE + "batch_size = true", "batch_size: expected a whole number, got True"),
        (WHOLE + "chips = 2.5", "chips: expected a whole number"),
        (WHOLE + "gpu = 3", "gpu: expected a table, got 3"),
        (WHOLE + "scales = 'none'", "scales: expected one of signal, channel, got 'none'"),
        (WHOLE + "network = 3", "not valid TOML"),
        ("network = []\ndata = 'mnist5k'", r"network: expected a text, got \[\]"),
        (WHOLE + "fit = 3", r"as a table \[fit\], got 3"),
        (WHOLE + "[fit]\nepochs = '3'", "training option epochs: expected a whole number"),
        (WHOLE + "[fit]\nlr = nan", "training option lr: expected a number, got nan"),
        (WHOLE + "[fit]\noptimizer = ['sgd']", "optimizer: expected one of adamw, sgd"),
    ],
)
def test_a_garbled_recipe_is_refused_with_its_name(tmp_path: Path, text: str | bytes, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RecipeError, match=rf"mine\.toml.*{words}"):
        load_recipe(path)


class Killed(BaseException):
    """The process ends here."""


def test_a_fresh_run_that_is_killed_at_any_write_never_goes_on_with_the_old_weights(
    tmp_path: Path, digits: DataSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = train(quick(epochs=1), tmp_path / "wanted", seed=1, data=digits, progress=False).model.state_dict()
    train(quick(epochs=1), tmp_path / "old", seed=0, data=digits, progress=False)
    refused = 0
    for k in range(30):
        folder = tmp_path / str(k)
        shutil.copytree(tmp_path / "old", folder)
        left = iter(range(k))

        def dying(change: Callable[..., None], left: Iterator[int] = left) -> Callable[..., None]:
            def call(*args: Any, **kwargs: Any) -> None:
                if not str(args[-1]).endswith(".part") and next(left, None) is None:
                    raise Killed
                change(*args, **kwargs)

            return call

        with monkeypatch.context() as patched:
            for name in ("replace", "unlink"):
                patched.setattr(os, name, dying(getattr(os, name)))
            try:
                train(quick(epochs=1), folder, seed=1, resume=False, data=digits, progress=False)
                break
            except Killed:
                pass
        try:
            found = train(quick(epochs=1), folder, seed=1, data=digits, progress=False)
        except HratError as error:  # what stood there is not all put away
            refused += "holds a run with another seed" in str(error)
            found = train(quick(epochs=1), folder, seed=1, resume=False, data=digits, progress=False)
        assert all(torch.equal(wanted[name], value) for name, value in found.model.state_dict().items()), k
        assert load_run(folder, data=digits).seed == 1
    assert 7 < k < 29
    assert 0 < refused < 6


def test_a_state_of_another_run_is_refused_whatever_run_json_says(tmp_path: Path, digits: DataSplits) -> None:
    train(quick(epochs=1), tmp_path / "a", seed=0, data=digits, progress=False)
    train(quick(epochs=1), tmp_path / "b", seed=1, data=digits, progress=False)
    (tmp_path / "b" / "run.json").unlink()
    with pytest.raises(HratError, match="another seed"):
        train(quick(epochs=1), tmp_path / "b", seed=0, data=digits, progress=False)
    train(quick(epochs=1), tmp_path / "b", seed=1, data=digits, progress=False)  # the state says what it is of
    shutil.copy(tmp_path / "a" / "model.pt", tmp_path / "b" / "model.pt")
    with pytest.raises(TrainingError, match=r"model\.pt holds the weights of another run"):
        load_run(tmp_path / "b", data=digits)
    (tmp_path / "b" / "model.pt").unlink()
    shutil.copy(tmp_path / "a" / "last.pt", tmp_path / "b" / "last.pt")
    with pytest.raises(TrainingError, match=r"last\.pt was trained with seed=0, now 1"):
        train(quick(epochs=1), tmp_path / "b", seed=1, data=digits, progress=False)


def test_a_run_on_other_data_is_another_run(tmp_path: Path, digits: DataSplits) -> None:
    train(quick(epochs=1), tmp_path, data=digits, progress=False)
    for other in (replace(digits, train=digits.train.subset(500)), replace(digits, test=digits.test.subset(100))):
        with pytest.raises(HratError, match="another data"):
            train(quick(epochs=1), tmp_path, data=other, progress=False)


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": 3},
        {"recipe": {"name": "x"}},
        {"spec": []},
        {"spec": {"device": 1}},
        {"method": ["hrat"]},
        {"method": "magic"},
        {"seed": "none"},
        {"seed": True},
        {"data": None},
        {"software": "much"},
        {"seconds": None},
    ],
)
def test_a_garbled_run_json_is_refused_with_its_name(
    tmp_path: Path, digits: DataSplits, change: dict[str, Any]
) -> None:
    recipe, spec = quick().to_dict(), hrat.load_spec("generic-4bit").to_dict()
    info = {"format": 2, "recipe": recipe, "spec": spec, "method": "hrat", "seed": 0, "data": {}}
    info |= {"software": 0.5, "seconds": 1.0}
    (tmp_path / "model.pt").write_bytes(b"")
    (tmp_path / "run.json").write_text(json.dumps({**info, **change}))
    for use in (lambda: load_run(tmp_path), lambda: train(quick(), tmp_path, data=digits, progress=False)):
        with pytest.raises(ArtifactError, match=r"run\.json is damaged or not written by hrat: .*begin anew"):
            use()
    (tmp_path / "run.json").write_text(json.dumps({**info, "format": 1}))
    with pytest.raises(ArtifactError, match=r"run\.json was written by another version of hrat"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "epoch,loss\n1,2\n", "epoch,loss,accuracy,lr\n1,2,3,x\n", "\x00\x01", "a,b\n1,2,3\n"]
)
def test_a_garbled_table_of_metrics_is_refused_with_its_name(tmp_path: Path, digits: DataSplits, text: str) -> None:
    run = train(quick(epochs=1), tmp_path, data=digits, progress=False)
    assert len(run.metrics()) == 1
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(ArtifactError, match=r"metrics\.csv(, line 1: expected a CSV file in UTF-8| is damaged)"):
        run.metrics()


def test_an_unfinished_or_damaged_run_is_refused(tmp_path: Path, digits: DataSplits) -> None:
    with pytest.raises(FileNotFoundError, match="holds no run"):
        load_run(tmp_path)
    train(quick(), tmp_path, data=digits, progress=False)
    info = json.loads((tmp_path / "run.json").read_text())
    del info["software"]
    (tmp_path / "run.json").write_text(json.dumps(info))
    with pytest.raises(ArtifactError, match="not finished"):
        load_run(tmp_path, data=digits)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ArtifactError, match="damaged"):
        load_run(tmp_path, data=digits)


def test_a_comparison_has_all_methods_on_the_same_chips(tmp_path: Path, digits, monkeypatch) -> None:
    monkeypatch.setattr("hrat.experiments.comparison.side_by_side.load_data", lambda name: digits)
    recipe = quick(epochs=4)
    comparison = compare(recipe, spec="generic-4bit", folder=tmp_path, progress=False)
    assert [row.method for row in comparison.rows] == list(METHODS)
    assert all(len(row.accuracies) == (1 if row.method == "float" else 3) for row in comparison.rows)
    assert comparison.row("float").accuracy_without_error == comparison.row("plain").accuracy_without_error
    assert comparison.row("hrat").mean > 0.6
    for name in ("comparison.json", "comparison.md", "comparison.png"):
        assert (tmp_path / name).stat().st_size > 100
    again = compare(recipe, spec="generic-4bit", folder=tmp_path, progress=False)
    assert [row.accuracies for row in again.rows] == [row.accuracies for row in comparison.rows]
    with pytest.raises(HratError, match="unknown method 'magic'"):
        compare(recipe, methods=["magic"], progress=False)


def test_variation_aware_training_shakes_the_weights_and_eval_does_not(digits: DataSplits) -> None:
    network = build_network("fc4")
    noisy = VariationAware(network, hrat.load_spec("generic-4bit"))
    x = digits.train[list(range(64))][0]
    assert not torch.equal(noisy.train()(x), noisy(x))
    assert torch.equal(noisy.eval()(x), network.eval()(x))
    weight = network[1].weight.detach()
    got = (noisy._with_noise(weight) - weight).std() / weight.abs().max()
    assert float(got) == pytest.approx(0.035 * 2**0.5, rel=0.02)


def test_mapping_a_plain_network_uses_the_range_of_each_signal(digits: DataSplits) -> None:
    """The baselines get the best that calibration can do: with fine states and no error nothing is lost."""
    spec = hrat.load_spec("generic-4bit", weight_bits=8, sigma_rel=0.0, bias_dac_bits=16, input_dac_bits=16)
    network = build_network("lenet5")
    network.train()
    for _ in range(20):
        network(digits.train[list(range(128))][0])
    network.eval()
    model = mapped(METHODS["plain"], network, quick("lenet5-mnist5k"), spec, digits.train)
    assert isinstance(model, PreparedModel)
    x = digits.test[list(range(100))][0]
    with torch.no_grad():
        relative = (model(x) - network(x)).norm() / network(x).norm()
    assert float(relative) < 0.1


def test_the_ablations_differ_from_hrat_in_one_thing_each(digits: DataSplits) -> None:
    def parts(key: str) -> tuple[set[str], set[bool]]:
        spec = hrat.load_spec("generic-4bit")
        model = prepared_for(METHODS[key], build_network("fc4"), quick(), spec, digits.train)
        learned = {p.requires_grad for n, p in model.named_parameters() if "log_alpha" in n}
        return {layer.form for layer in crossbar_layers(model).values()}, learned

    assert parts("hrat") == ({"one_pass"}, {True})
    assert parts("hrat-unfused") == ({"unfused"}, {True})
    assert parts("hrat-fixed-scales") == ({"one_pass"}, {False})


def test_own_loop_example_learns() -> None:
    import importlib.util

    path = Path(__file__).parents[3] / "examples" / "own_loop.py"
    spec = importlib.util.spec_from_file_location("own_loop", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.train(epochs=6) > 0.8


def test_loaders_of_the_test_split_are_never_trained_on(digits: DataSplits) -> None:
    data = load_data("mnist5k")
    rows = {image.numpy().tobytes() for image in data.train.images}
    assert not any(image.numpy().tobytes() in rows for image in data.test.images)
    assert len(next(iter(make_loader(digits.test, 50)))) == 2


def test_calibration_beats_a_window_of_the_largest_weight(digits: DataSplits) -> None:
    """The windows that it chooses leave outputs nearer to the floating-point ones than the usual min-max mapping."""
    spec = hrat.load_spec("generic-3bit-harsh")
    run_recipe = quick()
    network = build_network("fc4")
    fit(network, make_loader(digits.train, 64, shuffle=True, seed=0, drop_last=True), epochs=3, progress=False)
    x = digits.test[list(range(200))][0]
    with torch.no_grad():
        wanted = network(x)

    def distance(model: PreparedModel) -> float:
        chips = hrat.program(hrat.deploy(model), chips=5, seed=100)
        return float((hrat.simulate(chips, x).value - wanted).square().mean())

    calibrated = mapped(METHODS["plain"], network, run_recipe, spec, digits.train)
    chosen = distance(calibrated)
    for layer, alpha_in, alpha_out in layers_with_scales(calibrated):
        weight = layer.fused_weight(alpha_in, alpha_out).detach()
        layer.log_range.data.copy_((weight.abs().max() / weight.square().mean().sqrt()).log())
    assert chosen < 0.9 * distance(calibrated)


def test_without_fusing_batch_norm_stays_apart_in_all_of_training(digits: DataSplits) -> None:
    """Else the frozen last part would be HRAT after all."""
    spec = hrat.load_spec("generic-3bit-harsh")
    model = prepared_for(METHODS["hrat-unfused"], build_network("fc4"), quick(), spec, digits.train)
    x = digits.train[list(range(128))][0]
    model.train()(x)
    freeze_batch_norm(model)
    set_noise_strength(model, 0.0)
    assert not torch.allclose(model.train()(x), model.eval()(x), atol=1e-3)
    fused = prepared_for(METHODS["hrat"], build_network("fc4"), quick(), spec, digits.train)
    freeze_batch_norm(fused)
    set_noise_strength(fused, 0.0)
    assert torch.equal(fused.train()(x), fused.eval()(x))


def test_what_a_recipe_says_of_gpus_holds_there_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hrat.training.processor.bfloat16_instructions", list)
    recipe = load_recipe("vgg16-cifar10")
    on_cpu, on_gpu = recipe.on("cpu"), recipe.on("cuda")
    assert not any((on_cpu.fit.amp, on_cpu.fit.compile, on_cpu.fit.channels_last))
    assert on_gpu.fit.amp
    assert on_gpu.fit.compile
    assert on_gpu.fit.channels_last
    assert on_gpu.fit.lr == on_cpu.fit.lr == recipe.fit.lr
    assert on_cpu.gpu == on_gpu.gpu == {}
    assert load_recipe("fc4-mnist").on("cuda") == load_recipe("fc4-mnist")
    with pytest.raises(TrainingError, match="unknown training option 'ampp'; did you mean 'amp'"):
        replace(recipe, gpu={"ampp": True})


def test_what_a_recipe_says_of_bfloat16_holds_on_processors_that_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hrat.training.processor.bfloat16_instructions", lambda: ["avx512_bf16"])
    recipe = load_recipe("resnet20-cifar10")
    for device in (None, "cpu"):
        fit = recipe.on(device).fit
        assert (fit.amp, fit.channels_last, fit.compile) == (True, True, False)
    assert recipe.on("cpu").bf16 == {}
    told = recipe.with_fit(amp=False, compile=True)
    assert (told.on("cpu").fit.amp, told.on("cpu").fit.compile) == (False, True)
    assert (told.on("cuda").fit.amp, told.on("cuda").fit.channels_last) == (False, True)
    with pytest.raises(TrainingError, match="unknown training option 'ampp'"):
        replace(recipe, bf16={"ampp": True})


FOR_GPUS: dict[str, Callable[[], nn.Module]] = {
    "vgg11": lambda: vgg(11, width=8),
    "resnet of two blocks": lambda: resnet((1, 1), width=16),
    "vgg16-eighth": lambda: build_network("vgg16-eighth"),
    "resnet20": lambda: build_network("resnet20"),
}
"""Tracing takes a second a layer: the first two have all that the recipes' networks, the last two, have more of."""
WHOLE = ("vgg16-eighth", "resnet20")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in WHOLE else n for n in FOR_GPUS])
def test_the_settings_for_gpus_train_in_one_graph_and_as_eager_does(name: str) -> None:
    """Half precision, channels-last, compiled without a graph break: forward and backward of a step."""
    torch.manual_seed(0)
    x, y = torch.randn(16, 3, 32, 32), torch.arange(16) % 10
    found = []
    for compiled in (False, True):
        torch.manual_seed(1)
        model = hrat.prepare(FOR_GPUS[name](), hrat.load_spec("generic-4bit").without("error"), x).train()
        model = model.to(memory_format=torch.channels_last)
        torch._dynamo.reset()
        call = torch.compile(model, backend="aot_eager", fullgraph=True) if compiled else model
        with torch.autocast("cpu", torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(call(x.to(memory_format=torch.channels_last)), y)
        loss.backward()
        assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters())
        found.append(float(loss))
    assert found[0] == pytest.approx(found[1], rel=0.03)


@pytest.mark.parametrize("name", ["vgg16-cifar10", "vgg16-cifar100", "resnet20-cifar10"])
def test_the_full_recipes_train_on_images_of_their_kind(name: str, tmp_path: Path) -> None:
    """A step of each on a few made images, from the recipe to a simulated chip."""
    recipe = load_recipe(name)
    classes = 100 if recipe.data == "cifar100" else 10
    labels = torch.arange(40) % classes
    images = torch.randint(256, (40, 3, 32, 32), dtype=torch.uint8)
    part = ArrayDataset(images, labels, mean=(0.5,) * 3, std=(0.25,) * 3, num_classes=classes)
    data = DataSplits(name=recipe.data, train=part, val=None, test=part, classes=tuple(map(str, range(classes))))
    short = replace(recipe, batch_size=20, fit=recipe.fit.replace(epochs=1))
    run = train(short, tmp_path, data=data, progress=False)
    chip = hrat.program(hrat.deploy(run.model), chips=2)
    result = hrat.simulate(chip, make_loader(data.test, 20))
    assert len(result.accuracies) == 2
