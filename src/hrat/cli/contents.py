"""Recognition of the file or folder at a path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrat.errors import ArtifactError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from hrat.artifacts import Comparison, Deployment, ProgrammedChip, ResultFigures

__all__ = ["Contents", "contents_of"]

KNOWN = "a deployment, chips, a comparison or results (.json), or the folder of a run or comparison"


@dataclass(frozen=True)
class Contents:
    """Description of the file or folder at a path."""

    what: str
    table: RenderableType
    artifact: Deployment | ProgrammedChip | Comparison | None = None


def contents_of(path: Path) -> Contents:
    """Recognise a file or folder of hrat's.

    Raises:
        FileNotFoundError: there is nothing.
        ArtifactError: it is damaged, or nothing that hrat wrote.
    """
    if path.is_dir():
        return _folder(path)
    if path.suffix == ".json":
        return _json(path)
    if path.suffix == ".toml":
        raise ArtifactError(
            f"{path} is a TOML file: `hrat spec show {path}` shows it if it is a spec; expected {KNOWN}"
        )
    from hrat.artifacts import ProgrammedChip, load
    from hrat.reports import artifact_table

    artifact = load(path)
    what = "programmed chips" if isinstance(artifact, ProgrammedChip) else "deployment"
    return Contents(what, artifact_table(artifact), artifact)


def _folder(path: Path) -> Contents:
    if (path / "comparison.json").is_file():
        return _json(path / "comparison.json")
    if (path / "run.json").is_file():
        return _run(path)
    raise ArtifactError(f"{path} is a folder with neither run.json nor comparison.json; expected {KNOWN}")


def _json(path: Path) -> Contents:
    data = _read(path)
    if "rows" in data:
        from hrat.artifacts import Comparison
        from hrat.reports import comparison_table

        comparison = Comparison.from_dict(data)
        return Contents("comparison of methods", comparison_table(comparison), comparison)
    if "solver" in data and "accuracies" in data:
        from hrat.artifacts import ResultFigures, decoded

        result = decoded(ResultFigures, data, f"{path} is damaged or no results of hrat simulate")
        return Contents(f"results of a simulation ({result.solver})", _results(result))
    if "recipe" in data and "method" in data:
        return _run(path.parent)
    raise ArtifactError(f"{path} is JSON, but nothing that hrat wrote; expected {KNOWN}")


def _read(path: Path) -> dict[str, Any]:
    from hrat.artifacts import read_json

    return read_json(path, KNOWN)


def _run(folder: Path) -> Contents:
    from hrat.artifacts import RunFacts
    from hrat.reports import duration, percent

    run = RunFacts.load(folder / "run.json")
    facts = {
        "recipe": run.recipe.name,
        "network": run.recipe.network,
        "data": run.recipe.data,
        "hardware": run.hardware.name,
        "method": run.method,
        "seed": run.seed,
        "epochs": run.recipe.fit.epochs,
    }
    finished = run.accuracy_without_error is not None
    if run.accuracy_without_error is not None and run.seconds is not None:
        facts |= {
            "accuracy without programming error": percent(run.accuracy_without_error),
            "trained in": duration(run.seconds),
        }
    return Contents("run, finished" if finished else "run, not finished: hrat train goes on with it", _grid(facts))


def _results(result: ResultFigures) -> Table:
    from hrat.reports import percent

    facts: dict[str, Any] = {"images": result.n_images, "chips": len(result.seeds)}
    if result.mean is not None and result.worst is not None:
        facts |= {"mean accuracy": percent(result.mean), "worst chip": percent(result.worst)}
    return _grid(facts)


def _grid(facts: dict[str, Any]) -> Table:
    from rich.table import Table

    from hrat.reports import safe_markup

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    for name, value in facts.items():
        grid.add_row(safe_markup(name), safe_markup(str(value)))
    return grid
