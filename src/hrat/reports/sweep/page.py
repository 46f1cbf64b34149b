"""A reproduced experiment as a page: a table and a picture for each part, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hrat.artifacts import SweepTable
from hrat.reports.words import duration

__all__ = ["experiment_page"]

FLOAT = "float"
MEANING = {
    "restriction": "Each restriction alone, and all together",
    "weight_bits": "Conductance states: 2 to the power of these bits",
    "sigma_rel": "Programming error of a device, as a part of the window",
    "v_read_V": "Read voltage, V",
    "v_swing_V": "Output swing of the amplifiers, V",
    "bias_dac_bits": "Bits of the bias DACs",
    "input_dac_bits": "Bits of the input DACs",
}


def experiment_page(
    name: str,
    tables: Mapping[str, SweepTable],
    *,
    labels: Mapping[str, str],
    epochs: int,
    chips: int,
    seeds: Sequence[int],
    command: str,
    seconds: float,
    wall_seconds: float,
) -> str:
    """The page in Markdown.

    Args:
        name: name of the experiment.
        tables: table of each part, by what it varies.
        labels: labels of the methods, by their keys, in the order of the columns.
        epochs: epochs of training.
        chips: chips of each trial.
        seeds: seeds of training.
        command: the command that made the page.
        seconds: seconds of work for all its results, whenever they were made.
        wall_seconds: seconds that this call took.
    """
    first = next(iter(tables.values()))
    lines = [
        f"# {name}",
        "",
        f"Recipe `{first.recipe}` on {first.data}, {epochs} epochs, hardware `{first.spec}`; {chips} chips for each "
        f"network, {first.n_test:,} test images, training seeds {', '.join(map(str, seeds))}. Cells: mean of the "
        "chips / the worst chip, in per cent.",
        "",
    ]
    if command:
        lines += [f"`{command}` ({duration(seconds)} of work; {duration(wall_seconds)} for what was not known yet)", ""]
    for part, table in tables.items():
        floats = [row["mean"] for row in table.done if row["method"] == FLOAT]
        methods = [key for key in labels if key != FLOAT]
        lines += [f"## {MEANING.get(part, part)}", ""]
        if floats:
            lines += [f"In floating point, without a chip: {100 * sum(floats) / len(floats):.2f}.", ""]
        lines += [
            f"| {part} | {' | '.join(labels[key] for key in methods)} |",
            f"|---|{'---:|' * len(methods)}",
        ]
        for value in dict.fromkeys(row[part] for row in table.rows):
            cells = [_cell([r for r in table.rows if r[part] == value and r["method"] == key]) for key in methods]
            best = max((cell[0] for cell in cells), default=0.0)
            texts = [f"**{text}**" if mean == best and mean > 0 else text for mean, text in cells]
            lines.append(f"| {value} | {' | '.join(texts)} |")
        lines += ["", f"![{MEANING.get(part, part)}]({part}.png)", ""]
    return "\n".join(lines)


def _cell(rows: Sequence[dict[str, Any]]) -> tuple[float, str]:
    done = [row for row in rows if row["status"] == "done"]
    if len(done) < len(rows) or not rows:
        return -1.0, "failed"
    mean, worst = sum(row["mean"] for row in done) / len(done), min(row["worst"] for row in done)
    return mean, f"{100 * mean:.2f} / {100 * worst:.2f}"
