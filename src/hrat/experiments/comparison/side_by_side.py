"""`compare`: every method on the same network, data, epochs and chips; `demo`: that, on data that needs no network."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from hrat.artifacts import Comparison, ComparisonRow
from hrat.errors import HratError
from hrat.experiments.recipes import METHODS, Recipe, load_recipe
from hrat.experiments.running import TEST_BATCH, Run, train
from hrat.files import path_within, write_atomic
from hrat.mapping import deploy
from hrat.processes import private_folder
from hrat.programming import program_in_chunks
from hrat.reports import comparison_figure, comparison_markdown, draw_beside
from hrat.seeds import check_seed
from hrat.simulation import simulate
from hrat.spec import HardwareSpec, load_spec
from hrat.training import DataSplits, load_data, make_loader

__all__ = ["compare", "demo", "spec_summary"]

DEMO_RECIPE, DEMO_SPEC = "lenet5-mnist5k", "generic-3bit-harsh"
DEMO_EPOCHS, QUICK_EPOCHS = 10, 2


def compare(
    recipe: Recipe | str | Path,
    *,
    spec: HardwareSpec | str | None = None,
    methods: Sequence[str] | None = None,
    chips: int | None = None,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Comparison:
    """Train the recipe's network by each method, put it on the same chips, and test those.

    Args:
        recipe: a recipe, its name, or a TOML file.
        spec: the hardware, in place of the recipe's.
        methods: keys of `METHODS`; all by default.
        chips: number of chips, in place of the recipe's; they have the seeds 0, 1, 2, ...
        seed: seed of training.
        folder: where the runs and the result go; runs that are there already are not trained again.
        progress: show progress bars.

    Raises:
        HratError: unknown recipe, method or data; training that diverged.
    """
    seed = check_seed(seed)
    recipe = load_recipe(recipe)
    chosen = load_spec(recipe.spec if spec is None else spec)
    keys = list(METHODS if methods is None else methods)
    unknown = [key for key in keys if key not in METHODS]
    if unknown:
        raise HratError(f"unknown method {unknown[0]!r}; expected some of {', '.join(METHODS)}")
    if not keys:
        raise HratError(f"expected at least one method to compare; there are {', '.join(METHODS)}")
    data = load_data(recipe.data)
    n_chips = recipe.chips if chips is None else chips
    rows = []
    with _folder(folder) as root:
        for key in keys:
            run = train(
                recipe,
                path_within(root, _run_folder(key)),
                method=_trained_as(key),
                spec=chosen,
                seed=seed,
                progress=progress,
                data=data,
            )
            rows.append(_row(key, run, data, n_chips))
    comparison = Comparison(
        network=recipe.network,
        data=recipe.data,
        spec=chosen.name,
        spec_summary=spec_summary(chosen),
        n_train=len(data.train),
        n_test=len(data.test),
        n_chips=n_chips,
        seed=seed,
        rows=tuple(rows),
    )
    if folder is not None:
        comparison.save(path_within(folder, "comparison.json"))
        write_atomic(path_within(folder, "comparison.md"), comparison_markdown(comparison))
        draw_beside(partial(comparison_figure, comparison), path_within(folder, "comparison.png"))
    return comparison


def demo(folder: str | os.PathLike[str], *, quick: bool = False, progress: bool = True) -> Comparison:
    """The whole way on 5,000 real digits and a poor device: train by every method, program 20 chips each, compare.

    Args:
        folder: where runs, table and picture go.
        quick: two epochs instead of ten, to see that all works.
        progress: show progress bars.
    """
    recipe = load_recipe(DEMO_RECIPE)
    epochs = QUICK_EPOCHS if quick else DEMO_EPOCHS
    recipe = replace(recipe, name=f"demo-{epochs}", fit=recipe.fit.replace(epochs=epochs))
    return compare(recipe, spec=DEMO_SPEC, folder=folder, progress=progress)


def spec_summary(spec: HardwareSpec) -> str:
    """The restrictions that are on, in words, for the caption of a table or picture."""
    device, periphery, programming = spec.device, spec.periphery, spec.programming
    parts = []
    if device.limit_states:
        parts.append(f"{device.n_states} conductance states")
    if programming.limit_error and programming.sigma_rel is not None:
        parts.append(f"{programming.sigma_rel:.1%} error per device")
    elif programming.limit_error:
        parts.append("state-dependent error")
    if device.limit_read_voltage:
        parts.append(f"{device.v_read_V:g} V read")
    if periphery.limit_swing:
        parts.append(f"{periphery.v_swing_V:g} V swing")
    if periphery.limit_bias_dac:
        parts.append(f"{periphery.bias_dac_bits}-bit bias DAC")
    if periphery.limit_input_dac:
        parts.append(f"{periphery.input_dac_bits}-bit input DAC")
    if spec.restrictions()["tile_adc"]:
        parts.append(f"{periphery.tile_adc_bits}-bit ADCs between tiles of {spec.array.rows} rows")
    return ", ".join(parts) if parts else "no restrictions"


def _row(key: str, run: Run, data: DataSplits, chips: int) -> ComparisonRow:
    accuracies: tuple[float, ...] = (run.accuracy_without_error,)
    if key != "float":
        chunks = program_in_chunks(deploy(run.model), chips=chips)
        result = simulate(chunks, make_loader(data.test, TEST_BATCH), keep_outputs=False)
        assert result.accuracies is not None
        accuracies = result.accuracies
    return ComparisonRow(
        method=key,
        label=METHODS[key].label,
        accuracies=accuracies,
        accuracy_without_error=run.accuracy_without_error,
        train_seconds=run.seconds,
        epochs=run.recipe.fit.epochs,
    )


def _trained_as(key: str) -> str:
    """`float` is the plain run, tested without a chip."""
    return "plain" if key == "float" else key


def _run_folder(key: str) -> str:
    return f"run-{_trained_as(key)}"


@contextmanager
def _folder(folder: str | os.PathLike[str] | None) -> Iterator[Path]:
    if folder is not None:
        yield Path(folder)
        return
    with private_folder("compare") as temporary:
        yield temporary
