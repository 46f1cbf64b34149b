"""What scripts/golden.py computes: all networks of tests/laws, through hrat's public functions alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from golden_records import RECORDS, ROOT, fitted
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, TensorDataset

sys.path.insert(0, str(ROOT / "tests"))

import hrat
from hrat.mapping import choose_redundancy, compensate, favour_states, remap, replicate
from hrat.programming import find_faults
from hrat.training import accuracy, make_loader
from laws.architectures import ARCHITECTURES, architecture
from laws.networks import NETWORKS, SPECS, network

PARAMETERS = "parameters"
"""Items below this name may change their names: their values are then compared as a multiset."""

Items = dict[str, Any]
"""What a case yields: a tensor or a JSON value for each path, such as `deployment/layers/fc/g_pos_S`."""


def load(name: str) -> tuple[nn.Module, Any]:
    """A network of tests/laws and its example input, in float64."""
    torch.manual_seed(0)
    return architecture(name) if name in ARCHITECTURES else network(name)


def call(model: nn.Module, x: Any) -> Any:
    """Call with a tensor, a tuple of arguments or a dict of keyword arguments."""
    if isinstance(x, dict):
        return model(**x)
    return model(*x) if isinstance(x, tuple) else model(x)


def deployed(deployment: hrat.Deployment) -> Items:
    """All that a deployment holds but its spec."""
    return {"layers": deployment.layers, "graph": deployment.to_parts()[0]["graph"], "tensors": deployment.tensors}


def programmed(chip: hrat.ProgrammedChip) -> Items:
    """All that chips hold but their deployment."""
    return {"layers": chip.layers, "seeds": chip.seeds, "scheme": chip.scheme}


def simulated(chip: hrat.ProgrammedChip, x: Any, **how: Any) -> Items:
    """Outputs of chips."""
    result = hrat.simulate(chip, x, **how)
    return {"value": result.value, "accuracies": result.accuracies, "voltages": result.voltages}


def trained(prepared: hrat.PreparedModel, x: Any, steps: int = 3) -> Items:
    """Losses and parameters of some steps of SGD, with a new chip's errors in each of them."""
    torch.manual_seed(1)
    prepared.requires_grad_(True).train()
    optimiser = torch.optim.SGD(prepared.parameters(), lr=0.01)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        leaves = [leaf for leaf in tree_leaves(call(prepared, x)) if isinstance(leaf, Tensor)]
        loss = torch.stack([leaf.square().mean() for leaf in leaves]).sum()
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    prepared.eval()
    with torch.no_grad():
        outputs = call(prepared, x)
    return {"losses": torch.stack(losses), PARAMETERS: prepared.state_dict(), "outputs": outputs}


def pipeline(name: str, spec: hrat.HardwareSpec, single: bool = False, **how: Any) -> Items:
    """Prepare, deploy, program, simulate and train one network; in float32 with `single`."""
    model, x = load(name)
    if single:
        model, x = model.float(), x.float() if x.is_floating_point() else x
    prepared = hrat.prepare(model, spec, x, **how)
    deployment = hrat.deploy(prepared)
    chips = hrat.program(deployment, seed=7, chips=2)
    items = {
        "deployment": deployed(deployment),
        "chips": programmed(chips),
        "simulation": simulated(chips, x),
        "training": trained(prepared, x),
    }
    return {**items, "trained": deployed(hrat.deploy(prepared))}


def with_wires(name: str, spec: hrat.HardwareSpec) -> Items:
    """Small tiles with wires, by Kirchhoff's laws, and targets that make up for them."""
    model, x = load(name)
    spec = spec.replace({"array.rows": 12, "array.cols": 5, "limit_wires": True, "r_word_ohm": 3.0, "r_bit_ohm": 2.0})
    deployment = hrat.deploy(hrat.prepare(model, spec, x))
    chips = hrat.program(deployment, seed=7, chips=2)
    return {
        "nodal": simulated(chips, x, solver="nodal"),
        "behavioural": simulated(chips, x),
        "compensated": deployed(compensate(deployment)[0]),
    }


VTEAM = {
    **{"pulses.model": "vteam", "pulses.set_V": 1.0, "pulses.reset_V": 1.0, "vteam.r_on_ohm": 5e3},
    **{"vteam.r_off_ohm": 20e3, "vteam.k_on_m_s": -0.02, "vteam.k_off_m_s": 0.015, "vteam.v_on_V": -0.7},
    **{"vteam.v_off_V": 0.6, "vteam.alpha_on": 2.0, "vteam.alpha_off": 3.0},
}
JUMPS = {
    "pulses.model": "jump_table",
    "jump_table.g_S": (50e-6, 120e-6, 200e-6),
    "jump_table.set_S": ((1e-6, 6e-6, 10e-6), (0.5e-6, 3e-6, 8e-6), (0.0, 0.5e-6, 1e-6)),
    "jump_table.reset_S": ((-1e-6, -0.5e-6, 0.0), (-7e-6, -3e-6, -1e-6), (-12e-6, -8e-6, -2e-6)),
}
PULSES: dict[str, tuple[str, dict[str, Any]]] = {
    "write and verify": ("generic-4bit", {}),
    "open loop": ("generic-4bit", {"programming.scheme": "open_loop", "cycle_spread_S": 1e-7}),
    "relaxing": ("cmo-hfox", {"limit_retention": True, "passes": 2, "read_noise_rel": 0.01}),
    "faulty": ("jo2010", {"limit_faults": True, "stuck_off": 0.05, "stuck_on": 0.02, "window_spread_rel": 0.1}),
    "linear steps": ("generic-4bit", {"pulses.model": "linear_step"}),
    "jump table": ("generic-4bit", JUMPS),
    "vteam": ("generic-4bit", VTEAM),
    "filament": ("generic-4bit", {"pulses.model": "stanford_pku", "pulses.set_V": 1.0, "pulses.reset_V": 1.0}),
    "incremental": (
        "generic-4bit",
        {"efold_V": 0.3, "set_step_V": 0.05, "reset_step_V": 0.05, "v_max_V": 2.5, "start": "random"},
    ),
}
"""How devices are programmed pulse by pulse: a preset and what is changed of it."""


def with_pulses(preset: str, changes: Mapping[str, Any]) -> Items:
    """Chips that are programmed pulse by pulse, what it took, and what becomes of them."""
    spec = hrat.load_spec(preset).replace({"programming.scheme": "write_verify", **changes})
    model, x = load("fc4")
    deployment = hrat.deploy(hrat.prepare(model, spec, x))
    chips = hrat.program(deployment, seed=3, chips=2)
    items = {"chips": programmed(chips), "totals": chips.pulse_totals(), "simulation": simulated(chips, x)}
    if spec.retention.limit_retention:
        items["aged"] = programmed(hrat.age(chips, 1e6, temperature_K=350.0))
    return items


def pictures() -> tuple[nn.Module, TensorDataset]:
    """A small convolutional network in float32, and labelled pictures."""
    torch.manual_seed(2)
    model = nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.1), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3)),
    )
    x, labels = torch.randn(192, 1, 8, 8), torch.arange(192) % 3
    return model, TensorDataset(x + labels.view(-1, 1, 1, 1), labels)


def with_fit(spec: hrat.HardwareSpec, **options: Any) -> Items:
    """`hrat.fit`, and what is asked of a network after it."""
    model, data = pictures()
    prepared = hrat.prepare(model, spec, data.tensors[0][:32])
    loader, test = make_loader(data, 32, shuffle=True, seed=4), DataLoader(data, 64)
    hrat.fit(prepared, loader, test, epochs=3, progress=False, **options)
    deployment = hrat.deploy(prepared)
    chips = hrat.program(deployment, seed=5, chips=2)
    return {
        PARAMETERS: prepared.state_dict(),
        "accuracy": accuracy(prepared, test),
        "simulation": simulated(chips, test),
        "budget": hrat.restriction_budget(prepared, test, chips=2),
        "estimate": hrat.estimate(chips, test),
    }


def with_calibration() -> Items:
    """The scales that examples ask for."""
    model, data = pictures()
    prepared = hrat.prepare(model, SPECS["harsh"], data.tensors[0][:32], scales="channel")
    hrat.calibrate(prepared, [data.tensors[0][:100], data.tensors[0][100:]])
    return {PARAMETERS: prepared.state_dict(), "deployment": deployed(hrat.deploy(prepared))}


def with_remapping() -> Items:
    """What is made better of a deployment before it is programmed."""
    changes = {"stuck_off": 0.08, "stuck_on": 0.03, "limit_faults": True, "array.rows": 16}
    spec = hrat.load_spec("wan2022", weight_bits=3).replace(changes)
    model, data = pictures()
    prepared = hrat.prepare(model, spec, data.tensors[0][:32])
    plain = hrat.deploy(prepared)
    plan = choose_redundancy(prepared, DataLoader(data, 64), extra_devices=500)
    copied = replicate(plain, plan.copies)
    mapped, report = remap(copied, find_faults(copied, 1))
    chips = hrat.program(mapped, seed=1)
    return {
        "copies": plan.copies,
        "favoured": deployed(favour_states(plain)[0]),
        "remapped": deployed(mapped),
        "report": report,
        "simulation": simulated(chips, data.tensors[0]),
    }


def with_netlists(name: str, spec: hrat.HardwareSpec) -> Items:
    """The circuits of a chip as `hrat netlist` writes them."""
    model, x = load(name)
    chip = hrat.program(hrat.deploy(hrat.prepare(model, spec.replace({"array.rows": 8, "array.cols": 6}), x)), seed=1)
    with TemporaryDirectory() as folder:
        file, out = chip.save(Path(folder) / "chip"), Path(folder) / "netlists"
        command = [
            sys.executable,
            "-m",
            "hrat",
            "netlist",
            str(file),
            "-o",
            str(out),
            "--wires",
            "2",
            "--offset",
            "1e-3",
        ]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        return {path.name: path.read_text(encoding="utf-8") for path in sorted(out.iterdir())}


HARSH = SPECS["harsh"]
WIRED = HARSH.replace({"limit_wires": True, "r_word_ohm": 5.0, "r_bit_ohm": 5.0, "array.rows": 16, "array.cols": 8})
FORMS = ("two_pass", "slice", "one_pass", "unfused")
FEW = ("fc4", "residual", "shared conv, two norms", "pre-activation")


def cases() -> dict[str, Callable[[], Items]]:
    """All that is computed, by name."""
    every: dict[str, Callable[[], Items]] = {}

    def add(name: str, function: Callable[..., Items], *args: Any, **how: Any) -> None:
        every[name] = lambda: function(*args, **how)

    for name in (*NETWORKS, *ARCHITECTURES):
        add(f"network: {name}", pipeline, name, HARSH)
    for name in ("fc4", "lenet5", "resnet20", "lstm", "gpt"):
        add(f"float32: {name}", pipeline, name, HARSH, single=True)
    for name in FEW:
        for form in FORMS:
            add(f"batch norm, {form}: {name}", pipeline, name, HARSH, batch_norm=form, scales="channel")
            add(f"batch norm, {form}, tile ADCs: {name}", pipeline, name, SPECS["tile ADCs"], batch_norm=form)
        for spec in SPECS:
            add(f"hardware, {spec}: {name}", pipeline, name, SPECS[spec], scales="channel")
        add(f"wires in training: {name}", pipeline, name, WIRED)
        add(f"wires in training, two-stage: {name}", pipeline, name, WIRED.replace(readout="two_stage"))
    for name in ("convnext", "u-net", "lstm deep", "gru", "vit"):
        for spec in ("harsh two-stage", "tile ADCs", "tile ADCs two-stage"):
            add(f"hardware, {spec}: {name}", pipeline, name, SPECS[spec], scales="channel")
    for name in ("fc4", "residual", "functional", "lstm", "volumes"):
        for spec in ("harsh", "harsh two-stage", "tile ADCs"):
            add(f"wires, {spec}: {name}", with_wires, name, SPECS[spec])
    for spec in ("harsh", "harsh two-stage", "tile ADCs"):
        add(f"netlists, {spec}: fc4", with_netlists, "fc4", SPECS[spec])
    for name, (preset, changes) in PULSES.items():
        add(f"pulses: {name}", with_pulses, preset, changes)
    for name, (files, options) in RECORDS.items():
        add(f"measurements: {name}", fitted, files, options)
    add("fit: adamw", with_fit, HARSH)
    add("fit: sgd, tile ADCs", with_fit, SPECS["tile ADCs"], optimizer="sgd", lr=0.01, accumulate=2)
    add("calibration", with_calibration)
    add("mapping", with_remapping)
    return every
