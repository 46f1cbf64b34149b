"""What `run.py` measures: each part returns rows of plain data, which `page.py` turns into tables and pictures."""

import copy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from timing import medians
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import hrat
from hrat.experiments import build_network
from hrat.nn import freeze_batch_norm
from hrat.simulation import ChipSolver

SPEC = "generic-4bit"
Row = dict[str, Any]
IMAGES = {"fc4": (1, 28, 28), "lenet5": (1, 28, 28), "vgg16": (3, 32, 32)}


def batch(network: str, size: int) -> tuple[Tensor, Tensor]:
    """Random images and labels."""
    return torch.randn(size, *IMAGES[network]), torch.randint(0, 10, (size,))


def step(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """Forward, backward and SGD."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    model.train()

    def run() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    return run


def prepared(model: nn.Module, x: Tensor, form: str = "one_pass") -> nn.Module:
    """The model under the restrictions of the benchmark's hardware."""
    return hrat.prepare(model, SPEC, x[:32], batch_norm=form)  # type: ignore[arg-type]


def frozen(model: nn.Module) -> nn.Module:
    """The last part of training: batch norm fixed."""
    freeze_batch_norm(model)
    return model


def compared(candidates: dict[str, Callable[[], object]], turns: int, **what: Any) -> list[Row]:
    """A row for each candidate; the first one is the measure of the others."""
    measured = medians(candidates, turns=turns)
    first = next(iter(measured.values()))[0]
    return [
        {**what, "who": who, "median_s": middle, "spread_s": spread, "ratio": middle / first}
        for who, (middle, spread) in measured.items()
    ]


# ---- the training step -------------------------------------------------------------------------------------------

STEPS = {"fc4": [128], "lenet5": [128], "vgg16": [32, 128]}


def training(turns: int) -> list[Row]:
    """The forms of batch norm, in eager mode, each beside plain PyTorch."""
    rows = []
    for network, sizes in STEPS.items():
        for size in sizes:
            x, y = batch(network, size)
            model = build_network(network)
            candidates = {form: prepared(model, x, form) for form in ("one_pass", "slice", "two_pass")}
            candidates["one_pass, batch norm frozen"] = frozen(prepared(model, x))
            for who, candidate in candidates.items():
                # In pairs, as if each were trained alone: more models at once would fight for caches and pages.
                pair = {"plain PyTorch": step(copy.deepcopy(model), x, y), who: step(candidate, x, y)}
                found = compared(pair, turns_for(network, size, turns), network=network, batch=size)
                rows += found if who == "one_pass" else found[1:]
    return rows


def compiled(turns: int) -> list[Row]:
    """The same under `torch.compile`, which fails here if there is a graph break."""
    rows = []
    for network, size in (("fc4", 128), ("lenet5", 128), ("vgg16", 32), ("vgg16", 128)):
        x, y = batch(network, size)
        model = build_network(network)
        candidates = {
            "plain PyTorch": step(copy.deepcopy(model), x, y),
            "plain, compiled": step(torch.compile(copy.deepcopy(model), fullgraph=True), x, y),
            "one_pass": step(prepared(model, x), x, y),
            "one_pass, compiled": step(torch.compile(prepared(model, x), fullgraph=True), x, y),
        }
        rows += compared(candidates, turns_for(network, size, turns), network=network, batch=size)
    return rows


def turns_for(network: str, size: int, turns: int) -> int:
    """Fewer turns for what takes seconds."""
    return turns if network != "vgg16" else max(3, turns // (4 if size <= 32 else 10))


# ---- memory ------------------------------------------------------------------------------------------------------


def memory(turns: int) -> list[Row]:
    """Peak resident memory of a process that takes training steps, less that of one that only imports."""
    del turns
    rows = []
    for network, size in (("vgg16", 32), ("vgg16", 128)):
        base = _peak_bytes("nothing", network, size)
        plain = _peak_bytes("plain PyTorch", network, size) - base
        for who in ("plain PyTorch", "one_pass", "two_pass"):
            peak = plain if who == "plain PyTorch" else _peak_bytes(who, network, size) - base
            rows.append({"network": network, "batch": size, "who": who, "bytes": peak, "ratio": peak / plain})
    return rows


def _peak_bytes(who: str, network: str, size: int) -> int:
    command = [sys.executable, str(Path(__file__)), who, network, str(size)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def _report_peak(who: str, network: str, size: int) -> None:
    if who != "nothing":
        x, y = batch(network, size)
        model = build_network(network)
        if who != "plain PyTorch":
            original, model = model, prepared(model, x, who)
            del original
        run = step(model, x, y)
        for _ in range(3):
            run()
    # Of Linux: unlike what getrusage tells, it does not begin with the peak of the process that started this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]) * 1024)


# ---- simulation --------------------------------------------------------------------------------------------------

CHIPS = {"fc4": 20, "lenet5": 20, "vgg16": 4}
TEST_BATCH = {"fc4": 500, "lenet5": 500, "vgg16": 64}


def simulation(turns: int) -> list[Row]:
    """Plain inference, one chip, and several chips in one call, for each chip."""
    rows = []
    for network, chips in CHIPS.items():
        x, _ = batch(network, TEST_BATCH[network])
        model = build_network(network).eval()
        programmed = hrat.program(hrat.deploy(prepared(model, x[:32]).eval()), chips=chips)  # type: ignore[arg-type]
        one, many = ChipSolver(programmed[0]), ChipSolver(programmed)
        with torch.no_grad():
            measured = medians(
                {
                    "plain PyTorch": lambda model=model, x=x: model(x),
                    "one chip": lambda one=one, x=x: one.compute({"input": x}),
                    f"{chips} chips, each": lambda many=many, x=x: many.compute({"input": x}),
                },
                turns=max(5, turns // 3),
            )
        plain = measured["plain PyTorch"][0]
        for who, (middle, spread) in measured.items():
            share = chips if who.endswith("each") else 1
            rows.append(
                {
                    "network": network,
                    "batch": len(x),
                    "who": who,
                    "median_s": middle / share,
                    "spread_s": spread / share,
                    "ratio": middle / share / plain,
                }
            )
    return rows


def deployment(turns: int) -> list[Row]:
    """From a trained VGG-16 to a programmed chip, and to a file and back."""
    model = prepared(build_network("vgg16"), batch("vgg16", 32)[0]).eval()
    deployed = hrat.deploy(model)  # type: ignore[arg-type]
    candidates: dict[str, Callable[[], object]] = {
        "deploy": lambda: hrat.deploy(model),  # type: ignore[arg-type]
        "program one chip": lambda: hrat.program(deployed, seed=0),
    }
    measured = medians(candidates, turns=max(3, turns // 6))
    rows = [{"who": who, "median_s": middle, "spread_s": spread} for who, (middle, spread) in measured.items()]
    both = [row["median_s"] for row in rows]
    rows.append({"who": "both", "median_s": sum(both), "spread_s": max(row["spread_s"] for row in rows)})
    return rows


# ---- growth ------------------------------------------------------------------------------------------------------


def growth(turns: int) -> list[Row]:
    """How cost grows with width, depth, batch, tile size and chips; ratios to plain PyTorch where there is one."""
    turns = max(5, turns // 3)
    return [row for curve in (_width, _depth, _batch, _tile, _chips) for row in curve(turns)]


def mlp(width: int, depth: int) -> nn.Module:
    """`depth` hidden layers of `width` with batch norm."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def _point(axis: str, value: int, model: nn.Module, x: Tensor, turns: int) -> Iterator[Row]:
    y = torch.randint(0, 10, (len(x),))
    candidates = {"plain PyTorch": step(copy.deepcopy(model), x, y), "one_pass": step(prepared(model, x), x, y)}
    yield from compared(candidates, turns, axis=axis, value=value)


def _width(turns: int) -> Iterator[Row]:
    for width in (64, 128, 256, 512, 1024, 2048):
        yield from _point("width", width, mlp(width, 3), torch.randn(128, width), turns)


def _depth(turns: int) -> Iterator[Row]:
    for depth in (1, 2, 4, 8, 16, 32):
        yield from _point("depth", depth, mlp(256, depth), torch.randn(128, 256), turns)


def _batch(turns: int) -> Iterator[Row]:
    model = build_network("lenet5")
    for size in (16, 32, 64, 128, 256, 512):
        yield from _point("batch", size, model, batch("lenet5", size)[0], turns)


def _tile(turns: int) -> Iterator[Row]:
    """Tables of targets, tile by tile: the work whose pieces a tile's size sets."""
    model, (x, _) = mlp(1024, 2), (torch.randn(32, 1024), None)
    for size in (32, 64, 128, 256, 512, 1024):
        spec = hrat.load_spec(SPEC, **{"array.rows": size, "array.cols": size})
        ready = hrat.prepare(model, spec, x, batch_norm="one_pass").eval()
        chip = hrat.program(hrat.deploy(ready))
        solver = ChipSolver(chip)

        def infer(solver: ChipSolver = solver) -> object:
            with torch.no_grad():
                return solver.compute({"input": x})

        rows = compared({"deploy and program": lambda m=ready: hrat.program(hrat.deploy(m)), "infer": infer}, turns)
        yield from ({**row, "axis": "tile", "value": size} for row in rows)


def _chips(turns: int) -> Iterator[Row]:
    deployed = hrat.deploy(prepared(build_network("lenet5"), batch("lenet5", 32)[0]).eval())  # type: ignore[arg-type]
    x, _ = batch("lenet5", 200)
    for chips in (1, 2, 5, 10, 20, 50):
        programmed = hrat.program(deployed, chips=chips)
        solver = ChipSolver(programmed)

        def infer(solver: ChipSolver = solver) -> object:
            with torch.no_grad():
                return solver.compute({"input": x})

        rows = compared({"program": lambda n=chips: hrat.program(deployed, chips=n), "infer": infer}, turns)
        yield from ({**row, "axis": "chips", "value": chips} for row in rows)


# ---- where the step's time goes ----------------------------------------------------------------------------------

KINDS = {
    "convolution and matrix product": ("convolution", "addmm", "mm", "mkldnn"),
    "batch norm": ("batch_norm",),
    "pooling": ("max_pool",),
    "random numbers": ("normal_",),
    "clamps and rectifiers": ("clamp", "hardtanh", "threshold", "relu"),
    "optimiser": ("Optimizer",),
}


def step_profile(turns: int) -> list[Row]:
    """Share of each kind of operation in the processor time of a step."""
    rows = []
    for network, size in (("fc4", 128), ("lenet5", 128), ("vgg16", 32)):
        x, y = batch(network, size)
        model = build_network(network)
        count = turns_for(network, size, turns)
        plain_s = None
        for who, run in {
            "plain PyTorch": step(copy.deepcopy(model), x, y),
            "one_pass": step(prepared(model, x), x, y),
        }.items():
            for _ in range(3):
                run()
            with profile(activities=[ProfilerActivity.CPU], acc_events=True) as seen:
                for _ in range(count):
                    run()
            shares: dict[str, float] = {}
            for event in seen.key_averages():
                kind = next((kind for kind, names in KINDS.items() if any(n in event.key for n in names)), None)
                small = kind or "element-wise operations, sums, Python between them"
                shares[small] = shares.get(small, 0.0) + event.self_cpu_time_total * 1e-6 / count
            whole = sum(shares.values())
            plain_s = plain_s or whole
            for kind, seconds in sorted(shares.items(), key=lambda item: -item[1]):
                row = {"network": network, "batch": size, "who": who, "kind": kind}
                rows.append({**row, "seconds": seconds, "share": seconds / whole, "of_plain": seconds / plain_s})
    return rows


PARTS: dict[str, Callable[[int], list[Row]]] = {
    "training": training,
    "compiled": compiled,
    "memory": memory,
    "simulation": simulation,
    "deployment": deployment,
    "growth": growth,
    "profile": step_profile,
}

if __name__ == "__main__":
    _report_peak(sys.argv[1], sys.argv[2], int(sys.argv[3]))
