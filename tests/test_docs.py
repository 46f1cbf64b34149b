"""README and documentation: their code runs, and what they name exists.

A block of Python behind the comment `<!-- runs in tests/test_docs.py -->` is run as it stands; all such blocks of a
page, one after another, are one program.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from torch import nn

import hrat
from hrat.cli import app
from hrat.experiments import METHODS, Recipe
from hrat.spec import PULSE_MODELS, RESTRICTIONS, load_spec, preset_names, spec_from_toml
from hrat.spec.sections import SECTIONS

ROOT = Path(__file__).parents[1]
README, ARCHITECTURE, DOCS = ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("**/*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUNS = re.compile(r"^<!-- runs in tests/test_docs\.py -->\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in FENCE.findall(page.read_text()) if language in languages]


def rows(page: Path, heading: str = "") -> list[list[str]]:
    """Cells of the table rows below a heading, without headings and rules; `code` marks are taken off."""
    text = page.read_text()
    if heading:
        text = re.split(r"^## ", text.split(f"\n{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def run(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    code = RUNS.findall(page.read_text())
    assert code, f"{page.name} has no block that is marked to be run"
    monkeypatch.chdir(folder)  # the examples write files
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile("\n".join(code), page.name, "exec"), names)
    return names


# ---- code that runs --------------------------------------------------------------------------------------------------


def test_the_readme_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run(README, tmp_path, monkeypatch)
    result = names["result"]
    assert (len(result.accuracies), result.n_images) == (20, 1000)
    assert 0.9 < result.mean < 0.99
    assert result.worst > 0.88
    assert names["deployment"].n_devices == 2 * (784 * 64 + 64 * 10)
    code = RUNS.findall(README.read_text())[0].splitlines()
    assert len([line for line in code if line and not line.startswith(("import", "from"))]) <= 15


@pytest.mark.slow
def test_the_tutorial_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run(DOCS / "tutorial.md", tmp_path, monkeypatch)
    assert 0.88 < names["result"].mean < 0.99
    assert set(names["cost"]) == set(RESTRICTIONS)
    assert min(names["cost"].values()) > 0.8
    report = names["model"].report
    assert not report.digital_operations
    first, second = report.layers[0], report.layers[1]
    assert first.scale_out == second.scale_out  # "both convolutions have the same outgoing scale"


def test_the_page_on_programming_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run(DOCS / "programming.md", tmp_path, monkeypatch)
    totals = names["chips"].pulse_totals()
    assert totals.devices == 5 * 2 * (20 * 30 + 30 * 4)
    assert totals.most_pulses == 20


def test_the_page_of_an_own_device_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run(DOCS / "device.md", tmp_path, monkeypatch)
    assert hrat.load_spec(tmp_path / "mine.toml") == names["fit"].spec
    assert (tmp_path / "fit.png").is_file()


@pytest.mark.parametrize("name", ["own-network", "own-layer", "check", "choose-bits", "spice", "lab"])
def test_the_how_to_pages_run_as_they_stand(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run(DOCS / "howto" / f"{name}.md", tmp_path, monkeypatch)
    if name == "own-network":
        assert names["result"].mean > 0.9
        assert len(names["model"].report.digital_operations) > 0
        assert (tmp_path / "page" / "report.html").is_file()
    elif name == "own-layer":
        assert any("spike" in str(row) for row in names["spiking"].report.digital_operations)
    elif name == "check":
        assert names["report"].ok
    elif name == "choose-bits":
        assert names["bits"] == 4
        assert names["result"].mean > 0.8
    elif name == "spice":
        assert names["verification"].depths[1].agreement == 1.0
    else:
        assert names["real"].n_chips == 2
        assert (tmp_path / "page" / "report.html").is_file()


def test_the_how_to_index_leads_to_every_page() -> None:
    index = (DOCS / "howto" / "index.md").read_text()
    for page in (DOCS / "howto").glob("*.md"):
        assert page.stem == "index" or (f"({page.name})" in index and f"\n{page.stem}\n" in index), page.name


@pytest.mark.slow
def test_the_example_of_an_own_loop_runs() -> None:
    spec = importlib.util.spec_from_file_location("own_loop", ROOT / "examples" / "own_loop.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.train() > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_other_python_blocks_are_python(name: str) -> None:
    for code in blocks(ROOT / name, "python"):
        compile(code, name, "exec")


# ---- names, options, links -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_names_of_hrat_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    for dotted in set(re.findall(r"\bhrat((?:\.[A-Za-z_]\w*)+)", text)):
        assert _exists(dotted.split(".")[1:]), f"{name}: there is no hrat{dotted}"
    for room, imported in re.findall(r"^from (hrat[\w.]*) import (.+)$", text, re.MULTILINE):
        for part in imported.split(","):
            assert _exists([*room.split(".")[1:], part.strip()]), f"{name}: {room} has no {part.strip()}"


def _exists(parts: list[str]) -> bool:
    value: Any = hrat
    path = "hrat"
    for part in parts:
        path += f".{part}"
        if not hasattr(value, part):
            try:
                importlib.import_module(path)
            except ImportError:
                # Fields without a default are no attributes of their class.
                return part in getattr(value, "__annotations__", {})
        value = getattr(value, part, None)
    return True


def commands() -> dict[str, Any]:
    """Every verb, `spec show` and its kind too, and its command."""
    root = typer.main.get_command(app)
    found: dict[str, Any] = {}
    for verb, command in root.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found |= {f"{verb} {name}": part for name, part in inner.items()} if inner else {verb: command}
    return found


def options(command: Any) -> set[str]:
    return {
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option[0] == "-"
    }


@pytest.mark.parametrize("name", NAMES)
def test_commands_and_their_options_exist(name: str) -> None:
    verbs = commands()
    for text in blocks(ROOT / name, "console"):
        for line in text.splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if not words or Path(words[0]).name != "hrat":
                continue
            verb = " ".join(words[1:3]) if words[1] in ("spec", "device") else words[1]
            assert verb in verbs, f"{name}: {line}"
            given = {word for word in words if word.startswith("-")}
            assert given <= options(verbs[verb]), f"{name}: {line}"


@pytest.mark.parametrize("verb", sorted({verb.split()[0] for verb in commands()}))
def test_the_command_line_page_has_every_option(verb: str) -> None:
    named = {
        option
        for cells in rows(DOCS / "cli.md", f"## hrat {verb}")
        for option in re.findall(r"`(--?[a-z-]+)", cells[0])
    }
    known = set().union(*(options(command) for name, command in commands().items() if name.split()[0] == verb))
    assert named == known - {"--help", "-h"}


@pytest.mark.parametrize("name", NAMES)
def test_make_verbs_exist(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for verb in re.findall(r"(?:`|\$ )make ([a-z-]+)", (ROOT / name).read_text()):
        assert re.search(rf"^{verb}:", makefile, re.MULTILINE), f"{name}: make {verb}"


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if not target.startswith(("http://", "https://", "#")):
            assert (page.parent / target.split("#")[0]).exists(), f"{name}: {target}"


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (DOCS / "index.md").read_text()
    listed = {
        line for block in re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL) for line in block.splitlines()
    }
    assert not [page.stem for page in DOCS.glob("*.md") if page.stem != "index" and page.stem not in listed]


@pytest.mark.parametrize("name", NAMES)
def test_toml_blocks_are_specs_or_recipes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()  # the data of the reader's own
    monkeypatch.chdir(tmp_path)
    for text in blocks(ROOT / name, "toml"):
        table = tomllib.loads(text)
        if "network" in table:
            Recipe.from_dict({"name": "own", **table})
        else:
            assert spec_from_toml(text).warnings() == []


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_the_api_page_has_every_public_name() -> None:
    documented = set(
        re.findall(r"\.\. auto\w+:: (?:hrat\.)?(\w+)(?:\(.*\))?$", (DOCS / "api.md").read_text(), re.MULTILINE)
    )
    assert set(hrat.__all__) <= documented


@pytest.mark.parametrize("section", SECTIONS)
def test_the_spec_page_has_every_field_and_its_default(section: str) -> None:
    page = {cells[0].strip("`"): cells[2].strip("`") for cells in rows(DOCS / "spec.md", f"## [{section}]")[1:]}
    fields = SECTIONS[section].model_fields
    said = {field: tomllib.loads(f"value = {default}")["value"] for field, default in page.items()}
    for name, field in fields.items():
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        assert said.pop(name) == ("none" if default is None else default), name
    assert not said


def test_the_spec_page_has_every_preset_as_it_is() -> None:
    page = {cells[0].strip("`"): cells[1:] for cells in rows(DOCS / "spec.md", "## Presets")[1:]}
    assert set(page) == set(preset_names())
    for name, (states, window, error, read, swing, bits, tile, _) in page.items():
        spec = load_spec(name)
        device, periphery, programming = spec.device, spec.periphery, spec.programming
        assert states == str(device.n_states or "any"), name
        assert window == f"{device.g_min_S * 1e6:g} to {device.g_max_S * 1e6:g}", name
        assert tile == f"{spec.array.rows}x{spec.array.cols}", name
        if spec == spec.ideal():
            assert (error, read, swing, bits) == ("none", "any", "any", "none")
            continue
        if programming.sigma_rel is None:
            assert error.startswith("polynomial"), name
        else:
            assert error.startswith(f"{100 * programming.sigma_rel:g} %"), name
        assert (read, swing) == (f"{device.v_read_V:g}", f"{periphery.v_swing_V:g}"), name
        assert bits == f"{periphery.bias_dac_bits} / {periphery.input_dac_bits} / {periphery.adc_bits}", name


def test_the_concepts_page_has_every_restriction_and_method() -> None:
    page = rows(DOCS / "concepts.md", "## Restrictions")[1:]
    for cells, restriction in zip(page, RESTRICTIONS.values(), strict=True):
        assert cells[:4] == [f"`{restriction.name}`", restriction.model, restriction.acts_on, f"`{restriction.path}`"]
        assert tuple(re.findall(r"`([^`]+)`", cells[4])) == restriction.fields
    methods = [cells[0].strip("`") for cells in rows(DOCS / "concepts.md", "## Training methods compared")[1:]]
    assert methods == list(METHODS)


def test_the_pages_have_every_pulse_model() -> None:
    page = [cells[0].strip("`") for cells in rows(DOCS / "programming.md", "## Pulse models")[1:]]
    assert page == list(PULSE_MODELS)
    api = (DOCS / "api.md").read_text()
    assert not [model.__name__ for model in PULSE_MODELS.values() if f":: hrat.spec.{model.__name__}(" not in api]


def test_the_readme_compares_the_methods_there_are() -> None:
    labels = [cells[0] for cells in rows(README, "## What it reaches")]
    assert labels.count("HRAT") == 2
    for key in ("hrat-fixed-scales", "plain"):
        assert labels.count(METHODS[key].label) == 2


def test_the_files_page_has_the_columns_that_are_written(tmp_path: Path) -> None:
    model = hrat.prepare(nn.Linear(3, 2), "generic-4bit", torch.randn(4, 3)).eval()
    text = (DOCS / "files.md").read_text()
    for path in hrat.export_csv(hrat.deploy(model), tmp_path):
        wanted = path.read_text().splitlines()[0] if path.suffix == ".csv" else path.name
        assert wanted in text, path.name


def test_architecture_has_the_rooms_of_the_contract() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    layers = [set(re.findall(r"\w+", layer)) for layer in contract["layers"] if "__main__" not in layer]
    table = [set(re.findall(r"`(\w+)`", cells[0])) for cells in rows(ARCHITECTURE, "## Rooms")[1:]]
    assert table == layers


def test_architecture_names_functions_that_exist() -> None:
    for _, file, names in rows(ARCHITECTURE, "## Where each equation lives")[1:]:
        source = (ROOT / "src" / "hrat" / file.strip("`")).read_text()
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"^\s*(?:def|class) {name}\b", source, re.MULTILINE), f"{file}: {name}"
