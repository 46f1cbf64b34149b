"""Tables and pictures of docs/benchmarks from the figures that `run.py` took."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from hrat.files import write_atomic

matplotlib.use("Agg")
Row = dict[str, Any]

TEXTS = {
    "training": """## The training step

Forward, backward and SGD in eager mode, each form in turns with the same network in plain PyTorch (the ratio is to the
plain one of its own pair). `one_pass`, `slice` and `two_pass` are the ways to have batch statistics
([what they cost in accuracy](../experiments/batch-norm-forms.md)); batch norm is
frozen in the last part of training.""",
    "compiled": """## Under `torch.compile`

With `fullgraph=True`, which refuses a graph break. Ratios are to plain PyTorch in eager mode.""",
    "memory": """## Memory

Peak resident memory of a process that takes three training steps, less that of a process that only imports.""",
    "simulation": """## Simulation

Behavioural solver; the time for each chip. Batch norm is part of the weights by then, so that a chip may well be faster
than the network that it came from.""",
    "deployment": """## Deploying and programming VGG-16

14.7 million weights, 29.4 million devices, Gaussian programming error.""",
    "growth": """## How cost grows

Width, depth and batch: the training step of `one_pass` beside plain PyTorch. Tile size and chips: mapping, programming
and inference. The dashed line is linear growth from the last point.

![growth](growth.png)""",
    "profile": """## Where the step's time goes

Processor time of a step by kind of operation, as torch's profiler sees it (which itself adds to small operations), as a
share of the plain step's.

![profile](profile.png)""",
    "peers": """## Other tools

Each in an environment of its own, on the same work as the others, in turns, with ratios to plain PyTorch in the same
process; settings and versions are in `benchmarks/peers/`. *Noisy*: two passes of the same input differ, or two chips.
*Loss*: on a fixed batch, before and after some steps of SGD, to show that what is timed does learn. brevitas rounds
weights to 4 bits and has no noise; aihwkit-lightning has none in eval mode.

![peers](peers.png)""",
}


def table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    """A Markdown table, figures to the right."""
    return [
        "| " + " | ".join(head) + " |",
        "|" + "|".join("---" if i < 2 else "---:" for i in range(len(head))) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def ms(seconds: float) -> str:
    """Milliseconds with three figures."""
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:.0f}"


def _work(row: Row) -> str:
    return f"{row['network']}, batch {row['batch']}"


def timed(rows: list[Row]) -> list[str]:
    """Median, spread, ratio."""
    head = ["work", "who", "median, ms", "spread, ms", "ratio to plain"]
    return table(head, ([_work(r), r["who"], ms(r["median_s"]), ms(r["spread_s"]), f"{r['ratio']:.2f}"] for r in rows))


def memory(rows: list[Row]) -> list[str]:
    """Peak memory."""
    head = ["work", "who", "peak, MB", "ratio to plain"]
    return table(head, ([_work(r), r["who"], f"{r['bytes'] / 1e6:.0f}", f"{r['ratio']:.2f}"] for r in rows))


def deployment(rows: list[Row]) -> list[str]:
    """Seconds."""
    return table(
        ["what", "", "median, s", "spread, s"],
        ([r["who"], "", f"{r['median_s']:.2f}", f"{r['spread_s']:.2f}"] for r in rows),
    )


def growth(rows: list[Row]) -> list[str]:
    """The points of the curves."""
    head = ["axis", "who", "value", "median, ms", "ratio to the first of its row"]
    return table(head, ([r["axis"], r["who"], str(r["value"]), ms(r["median_s"]), f"{r['ratio']:.2f}"] for r in rows))


def step_profile(rows: list[Row]) -> list[str]:
    """Shares of the plain step."""
    head = ["work", "kind of operation", "plain, % of the plain step", "one_pass, % of the plain step"]
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        found.setdefault((_work(row), row["kind"]), {})[row["who"]] = 100 * row["of_plain"]
    lines = []
    for work in dict.fromkeys(work for work, _ in found):
        parts = {kind: shares for (at, kind), shares in found.items() if at == work}
        parts["all"] = {who: sum(s.get(who, 0.0) for s in parts.values()) for who in ("plain PyTorch", "one_pass")}
        lines += [
            [work, kind, *(f"{shares.get(who, 0.0):.0f}" for who in ("plain PyTorch", "one_pass"))]
            for kind, shares in parts.items()
        ]
    return table(head, lines)


def peers(rows: list[Row]) -> list[str]:
    """Everybody's ratios; what was left out, and why."""
    head = ["work", "who", "what", "median, ms", "spread, ms", "plain, ms", "ratio to plain", "noisy", "loss"]
    lines = []
    for row in (r for r in rows if not r.get("skipped")):
        places = {"training": "noisy_train", "eval": "noisy_eval", "chips": "noisy_chip"}
        noisy = ", ".join(place for place, key in places.items() if row.get(key))
        loss = f"{row['loss_first']:.2f} to {row['loss_last']:.2f}" if row.get("loss_first") is not None else ""
        lines.append(
            [
                row["work"],
                f"{row['peer']} {row.get('version') or ''}",
                row["kind"],
                ms(row["median_s"]),
                ms(row["spread_s"]),
                ms(row["plain_median_s"]),
                f"{row['ratio']:.2f}",
                noisy,
                loss,
            ]
        )
    skipped = {f"{r['peer']} on {r['work']}": r["skipped"] for r in rows if r.get("skipped")}
    return [*table(head, lines), "", *(f"* Left out: {who}: {why}" for who, why in skipped.items())]


TABLES: dict[str, Callable[[list[Row]], list[str]]] = {
    "training": timed,
    "compiled": timed,
    "memory": memory,
    "simulation": timed,
    "deployment": deployment,
    "growth": growth,
    "profile": step_profile,
    "peers": peers,
}


# ---- pictures ----------------------------------------------------------------------------------------------------

COLOURS = {"plain PyTorch": "#7a7a7a", "one_pass": "#0b6e99", "infer": "#0b6e99"}
LABELS = {
    "width": "width of 3 hidden layers",
    "depth": "hidden layers of width 256",
    "batch": "batch, LeNet-5",
    "tile": "rows and columns of a tile",
    "chips": "chips of LeNet-5",
}


def draw_growth(rows: list[Row], file: Path) -> None:
    """One panel for each axis, both scales logarithmic."""
    axes_names = list(dict.fromkeys(row["axis"] for row in rows))
    figure = Figure(figsize=(3.2 * len(axes_names), 3.2), layout="constrained")
    for panel, axis in zip(figure.subplots(1, len(axes_names), squeeze=False)[0], axes_names, strict=True):
        mine = [row for row in rows if row["axis"] == axis]
        for who in dict.fromkeys(row["who"] for row in mine):
            points = sorted((row["value"], row["median_s"] * 1e3) for row in mine if row["who"] == who)
            at, times = zip(*points, strict=True)
            panel.plot(at, times, "o-", label=who, color=COLOURS.get(who, "#c05a2b"), markersize=4)
            if axis != "tile":
                linear = [times[-1] * value / at[-1] for value in at]
                panel.plot(at, linear, "--", color=COLOURS.get(who, "#c05a2b"), alpha=0.35, linewidth=1)
        panel.set(xscale="log", yscale="log", xlabel=LABELS[axis], ylabel="ms")
        values = sorted({row["value"] for row in mine})
        panel.set_xticks(values, [str(value) for value in values], fontsize=7)
        panel.minorticks_off()
        panel.grid(alpha=0.25, which="both", linewidth=0.5)
        panel.legend(fontsize=7)
    figure.savefig(file, dpi=130)


def draw_profile(rows: list[Row], file: Path) -> None:
    """Stacked bars: plain and one_pass beside each other."""
    works = list(dict.fromkeys(_work(row) for row in rows))
    kinds = list(dict.fromkeys(row["kind"] for row in sorted(rows, key=lambda r: -r["seconds"])))
    colours = matplotlib.colormaps["tab10"]
    figure = Figure(figsize=(8.5, 1.0 + 0.55 * 2 * len(works)), layout="constrained")
    panel = figure.subplots()
    names = []
    for at, (work, who) in enumerate((work, who) for work in works for who in ("plain PyTorch", "one_pass")):
        names.append(f"{work}\n{who}")
        left = 0.0
        for index, kind in enumerate(kinds):
            share = sum(100 * r["of_plain"] for r in rows if (_work(r), r["who"], r["kind"]) == (work, who, kind))
            panel.barh(at, share, left=left, color=colours(index), label=kind if at == 0 else None)
            left += share
        panel.text(left + 3, at, f"{left:.0f} %", va="center", fontsize=8)
    panel.set_yticks(range(len(names)), names, fontsize=8)
    panel.invert_yaxis()
    panel.set_xlabel("% of the plain step")
    panel.margins(x=0.12)
    figure.legend(*panel.get_legend_handles_labels(), fontsize=7, ncols=3, loc="outside lower center")
    figure.savefig(file, dpi=130)


def draw_peers(rows: list[Row], file: Path) -> None:
    """Ratio to plain PyTorch of everybody, a panel for each work, for training and inference."""
    rows = [r for r in rows if not r.get("skipped") and not r["work"].startswith("tile")]
    works = list(dict.fromkeys(row["work"] for row in rows))
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    figure = Figure(figsize=(4.2 * len(works), 2.6 * len(kinds)), layout="constrained")
    panels = figure.subplots(len(kinds), len(works), squeeze=False)
    for line, kind in zip(panels, kinds, strict=True):
        for panel, work in zip(line, works, strict=True):
            mine = sorted((r for r in rows if (r["work"], r["kind"]) == (work, kind)), key=lambda r: -r["ratio"])
            colours = ["#0b6e99" if r["peer"].startswith("hrat") else "#b9b9b9" for r in mine]
            panel.barh([r["peer"] for r in mine], [r["ratio"] for r in mine], color=colours)
            for at, row in enumerate(mine):
                panel.text(row["ratio"], at, f" {row['ratio']:.2f}", va="center", fontsize=8)
            panel.axvline(1.0, color="#444444", linewidth=0.8, linestyle=":")
            panel.set(xscale="log", title=f"{work}: {kind}")
            ticks = [tick for tick in (1, 2, 5, 10, 20, 50) if tick <= 1.3 * max(r["ratio"] for r in mine)]
            panel.set_xticks(ticks, [str(tick) for tick in ticks])
            panel.minorticks_off()
            panel.set_xlabel("times plain PyTorch")
            panel.margins(x=0.25)
            panel.tick_params(labelsize=8)
    figure.savefig(file, dpi=130)


PICTURES = {"growth": draw_growth, "profile": draw_profile, "peers": draw_peers}


def write_page(results: dict[str, Any], folder: Path) -> None:
    """summary.md and its pictures, of the parts that there are."""
    lines = [
        "# Speed",
        "",
        "Medians of turns taken alternately in one process (the peers: in one process each); spread is half the",
        "distance between the quartiles. What was found, and how far it is from the limit:",
        "[reading the figures](reading.md). The raw figures are in `results.json` beside this page.",
        "",
    ]
    for part, text in TEXTS.items():
        if part not in results:
            continue
        found = results[part]
        lines += [text, "", *TABLES[part](found["rows"]), ""]
        lines += [f"`{found['command']}`; {found['machine']}; hardware `{found['spec']}`; {found['seconds']} s.", ""]
        if part in PICTURES:
            PICTURES[part](found["rows"], folder / f"{part}.png")
    write_atomic(folder / "summary.md", "\n".join(lines))
