"""Files: what is written is read, and nothing else is."""

from __future__ import annotations

import errno
import json
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import hrat
from hrat.artifacts import SCHEMA_VERSION, kind_of, storage
from hrat.artifacts.storage import write_artifact
from hrat.errors import ArtifactError
from laws.networks import NETWORKS, SPECS, network, small_network


def a_chip(n: int = 2, name: str | None = None, spec: str = "harsh") -> hrat.ProgrammedChip:
    model, x = small_network() if name is None else network(name)
    return hrat.program(hrat.deploy(hrat.prepare(model, SPECS[spec], x)), seed=2, chips=n)


def assert_same_deployment(a: hrat.Deployment, b: hrat.Deployment) -> None:
    assert a.spec == b.spec
    assert a.graph == b.graph
    assert list(a.layers) == list(b.layers)
    for name, layer in a.layers.items():
        other = b.layers[name]
        assert (layer.geometry, layer.r_f_ohm, layer.name) == (other.geometry, other.r_f_ohm, other.name)
        for field in ("g_pos_S", "g_neg_S", "bias_V", "bias_codes"):
            assert_same_tensor(getattr(layer, field), getattr(other, field))
    assert set(a.tensors) == set(b.tensors)
    for key, value in a.tensors.items():
        assert_same_tensor(value, b.tensors[key])


def assert_same_tensor(a: Tensor | None, b: Tensor | None) -> None:
    assert (a is None) == (b is None)
    if a is not None and b is not None:
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("spec", ["harsh", "continuous"])
def test_what_is_saved_is_loaded_bit_for_bit(name: str, spec: str, tmp_path: Path) -> None:
    chip = a_chip(2, name, spec)
    path = chip.deployment.save(tmp_path / "new folder" / "deployment.safetensors")
    assert kind_of(path) == "deployment"
    assert_same_deployment(hrat.Deployment.load(path), chip.deployment)
    assert isinstance(hrat.load(path), hrat.Deployment)
    path = chip.save(tmp_path / "chip.safetensors")
    assert kind_of(path) == "chip"
    loaded = hrat.load(path)
    assert isinstance(loaded, hrat.ProgrammedChip)
    assert_same_deployment(loaded.deployment, chip.deployment)
    assert (loaded.seeds, loaded.scheme) == (chip.seeds, chip.scheme)
    for layer_name, layer in chip.layers.items():
        assert_same_tensor(layer.g_pos_S, loaded.layers[layer_name].g_pos_S)
        assert_same_tensor(layer.g_neg_S, loaded.layers[layer_name].g_neg_S)


def test_one_of_several_chips_can_be_saved(tmp_path: Path) -> None:
    chip = a_chip(3)
    loaded = hrat.ProgrammedChip.load(chip[1].save(tmp_path / "one"))
    assert loaded.seeds == (3,)
    assert torch.equal(loaded.layers["0"].g_pos_S[0], chip.layers["0"].g_pos_S[1])


def test_the_same_artefact_is_the_same_file(tmp_path: Path) -> None:
    chip = a_chip()
    a, b = chip.save(tmp_path / "a"), chip.save(tmp_path / "b")
    assert a.read_bytes() == b.read_bytes()
    again = hrat.ProgrammedChip.load(a).save(tmp_path / "c")
    assert again.read_bytes() == a.read_bytes()


def test_a_file_is_safetensors_and_json_that_others_can_read(tmp_path: Path) -> None:
    path = a_chip().save(tmp_path / "chip")
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["hrat"])
        assert "chip/0/g_pos_S" in set(file.keys())
    assert header["schema_version"] == SCHEMA_VERSION
    assert json.loads(header["content"])["deployment"]["spec"]["name"] == "generic-3bit-harsh"


def test_deployments_are_the_same_to_the_last_bit(tmp_path: Path) -> None:
    deployment = a_chip().deployment
    assert deployment.is_same_as(deployment)
    assert deployment.is_same_as(hrat.Deployment.load(deployment.save(tmp_path / "one")))
    assert not deployment.is_same_as(replace(deployment, graph=deployment.graph[:-1]))
    assert not deployment.is_same_as(replace(deployment, tensors={}))
    layer = deployment.layers["0"]
    changed = layer.g_pos_S.clone()
    changed[0, 0, 0] *= 1 + 1e-15
    layers = {**deployment.layers, "0": replace(layer, g_pos_S=changed)}
    assert not deployment.is_same_as(replace(deployment, layers=layers))


# ---- refusals


def test_a_missing_file(tmp_path: Path) -> None:
    for load in (hrat.load, hrat.Deployment.load, hrat.ProgrammedChip.load):
        with pytest.raises(FileNotFoundError, match=r"no file at .*nowhere"):
            load(tmp_path / "nowhere")


def test_a_file_of_the_other_kind(tmp_path: Path) -> None:
    chip = a_chip()
    with pytest.raises(ArtifactError, match="holds a chip; expected a deployment"):
        hrat.Deployment.load(chip.save(tmp_path / "chip"))
    with pytest.raises(ArtifactError, match="holds a deployment; expected a chip"):
        hrat.ProgrammedChip.load(chip.deployment.save(tmp_path / "deployment"))


def test_a_truncated_file(tmp_path: Path) -> None:
    whole = a_chip().save(tmp_path / "chip").read_bytes()
    cut = tmp_path / "cut"
    for length in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:length])
        with pytest.raises(ArtifactError, match="truncated, damaged or not an hrat file"):
            hrat.load(cut)


def test_any_flipped_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    """In a tensor it is always noticed; in the header, what is not covered by the check-sum names no number."""
    chip = a_chip(1)
    whole = bytearray(chip.save(tmp_path / "chip").read_bytes())
    header_end = 8 + int.from_bytes(whole[:8], "little")
    damaged = tmp_path / "damaged"
    places = [*range(0, header_end, 97), *range(header_end, len(whole), 211), len(whole) - 1]
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 0x01
        damaged.write_bytes(flipped)
        try:
            loaded = hrat.load(damaged)
        except ArtifactError:
            continue
        assert place < header_end, f"byte {place} of the tensors"
        assert isinstance(loaded, hrat.ProgrammedChip)
        assert_same_deployment(loaded.deployment, chip.deployment)
        assert torch.equal(loaded.layers["0"].g_pos_S, chip.layers["0"].g_pos_S), f"byte {place}"


def test_one_flipped_byte_in_the_tensors_is_named(tmp_path: Path) -> None:
    path = a_chip(1).save(tmp_path / "chip")
    data = bytearray(path.read_bytes())
    data[-20] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"was changed after hrat wrote it, or is damaged"):
        hrat.load(path)


def test_a_foreign_file(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "other")
    with pytest.raises(ArtifactError, match="safetensors file, but none that hrat wrote"):
        hrat.load(tmp_path / "other")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "pickle")
    (tmp_path / "text").write_text("conductances, mostly\n")
    for name in ("pickle", "text"):
        with pytest.raises(ArtifactError, match="not an hrat file"):
            hrat.load(tmp_path / name)
    save_file({"weight": torch.zeros(2)}, tmp_path / "half", metadata={"hrat": '{"kind": "chip"}'})
    with pytest.raises(ArtifactError, match="incomplete hrat header"):
        hrat.load(tmp_path / "half")
    save_file({"weight": torch.zeros(2)}, tmp_path / "list", metadata={"hrat": "[1]"})
    with pytest.raises(ArtifactError, match="incomplete hrat header"):
        hrat.load(tmp_path / "list")


def rewritten(path: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], None], *, sign: bool = True) -> Path:
    """The file with its header or tensors changed, and a check-sum that holds."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["hrat"])
        tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    header["content"] = json.loads(header["content"])
    change(header, tensors)
    header["content"] = json.dumps(header["content"])
    if sign:
        header["digest"] = storage._digest(header["kind"], header["content"], tensors)
    save_file(tensors, path, metadata={"hrat": json.dumps(header)})
    return path


def test_another_schema_version(tmp_path: Path) -> None:
    path = a_chip().save(tmp_path / "chip")
    rewritten(path, lambda header, _: header.update(schema_version=99, hrat_version="7.0"))
    with pytest.raises(ArtifactError, match=r"schema version 99 \(written by hrat 7\.0\).*reads version 1"):
        hrat.load(path)


def test_an_unknown_kind(tmp_path: Path) -> None:
    path = a_chip().save(tmp_path / "chip")
    rewritten(path, lambda header, _: header.update(kind="wafer"))
    with pytest.raises(ArtifactError, match="holds a wafer; expected a chip"):
        hrat.load(path)


def _unknown_op(header: dict[str, Any], _: dict[str, Tensor]) -> None:
    header["content"]["deployment"]["graph"][1]["op"] = "os.system"


def _no_tensor(_: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    del tensors["chip/0/g_neg_S"]


def _no_target(_: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    del tensors["layer/0/g_neg_S"]


def _negative(_: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    tensors["chip/3/g_pos_S"][0, 0, 0, 0] = -1e-6


def _negative_target(_: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    tensors["layer/3/g_pos_S"][0, 0, 0] = -1e-6


def _nan(_: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    tensors["chip/0/g_pos_S"][0, 0, 0, 0] = float("nan")


def _shape(_: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    tensors["layer/0/g_pos_S"] = tensors["layer/0/g_pos_S"].mT.contiguous()


def _no_graph(header: dict[str, Any], _: dict[str, Tensor]) -> None:
    del header["content"]["deployment"]["graph"]


def _spec(header: dict[str, Any], _: dict[str, Tensor]) -> None:
    header["content"]["deployment"]["spec"]["device"]["g_min_S"] = -1.0


def _chip_shape(_: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    tensors["chip/0/g_pos_S"] = tensors["chip/0/g_pos_S"].mT.contiguous()


def _one_seed_too_many(header: dict[str, Any], _: dict[str, Tensor]) -> None:
    header["content"]["seeds"].append(9)


def _no_seeds(header: dict[str, Any], _: dict[str, Tensor]) -> None:
    del header["content"]["seeds"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_unknown_op, r"operation 'os\.system', which this version of hrat does not know"),
        (_no_tensor, "lacks 'chip/0/g_neg_S'"),
        (_no_target, "lacks or garbles 'layer/0/g_neg_S'"),
        (_negative, "layer '3', as programmed: g_pos_S has values that are negative or not finite"),
        (_negative_target, "layer '3'.*negative or not finite"),
        (_nan, "layer '0', as programmed: g_pos_S has values that are negative or not finite"),
        (_shape, r"layer '0': g_pos_S has shape .*, expected"),
        (_no_graph, "lacks or garbles .*graph: Field required"),
        (_spec, "g_min_S"),
        (_chip_shape, "shape"),
        (_one_seed_too_many, r"shape \(2, .*expected \(3, "),
        (_no_seeds, "seeds"),
    ],
)
def test_a_signed_file_with_wrong_content(change: Callable[..., None], message: str, tmp_path: Path) -> None:
    path = rewritten(a_chip().save(tmp_path / "chip"), change)
    with pytest.raises(hrat.HratError, match=message):
        hrat.load(path)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("I/O error")])
def test_a_full_disk_leaves_the_old_file_and_no_other(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = a_chip().save(tmp_path / "chip")
    before = path.read_bytes()

    def full(tensors: dict[str, Tensor], target: Path, **_: Any) -> None:
        target.write_bytes(b"half a file")
        raise error

    monkeypatch.setattr(storage, "save_file", full)
    with pytest.raises(OSError, match=r"space|disk full"):
        a_chip(1).save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["chip"]


def test_interrupting_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = a_chip().deployment.save(tmp_path / "deployment")
    before = path.read_bytes()

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        a_chip().deployment.save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_numbers_that_json_cannot_hold_are_refused_when_writing(tmp_path: Path) -> None:
    deployment = a_chip().deployment
    layer = replace(deployment.layers["0"], r_f_ohm=float("nan"))
    with pytest.raises(ValueError, match="JSON"):
        replace(deployment, layers={"0": layer}).save(tmp_path / "bad")
    assert not list(tmp_path.iterdir())


def test_a_file_that_finds_no_room_is_told_in_the_systems_words(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the write fails in the same place."""
    path = write_artifact(tmp_path / "a", "test", {}, {})
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            write_artifact(path, "test", {}, {"x": torch.zeros(5000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (raised.value.errno, raised.value.filename) == (errno.EFBIG, str(path))
    assert path.read_bytes() == before
