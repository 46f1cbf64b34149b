"""`check_solver`: the contract of a solver, by which `hrat.simulate` can use it for any layer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from hrat.artifacts import ProgrammedChip
from hrat.conversion import prepare
from hrat.encoding import LayerReadout
from hrat.errors import HratError
from hrat.mapping import deploy
from hrat.programming import program
from hrat.simulation import SOLVERS, LayerModel, LinearModel, Solver, Statistics, simulate
from hrat.spec import HardwareSpec, load_spec
from hrat.testing.circuit import outputs_and_voltages
from hrat.testing.compare import compared, named_tensors
from hrat.testing.report import CheckReport, Finding, held, merged, true_or_not, unchecked

__all__ = ["SAME", "check_solver"]

SAME = 1e-12
"""Of the largest value, in float64, between two ways to ask for the same."""
CHIPS = 2
IMAGES = 3
HUGE_OHM = 1e300
"""Resistance of a word line that is as good as broken."""

ERRORS = {
    "periphery.amplifier_offset_V": 1e-3,
    "periphery.amplifier_noise_V": 1e-4,
    "periphery.amplifier_gain": 1e4,
    "periphery.r_f_tolerance_rel": 0.01,
    "device.read_noise_rel": 0.01,
}
"""Errors of amplifiers and readings that are large enough to be seen."""

CLAIMS = {
    "models": "has a model of each layer: gains or a callable for each chip, of the right shapes",
    "chip": "leaves the chips alone, and tells amounts",
    "repeat": "gives the same twice",
    "chips": "solves several chips as one by one",
    "images": "solves several images as one by one",
    "bias": "yields the bias where no voltage enters",
    "linear": "is linear in the voltages",
    "formula": "is the behavioural solution on ideal wires",
    "errors": "meets the errors that amplifiers and readings of a chip have",
    "failure": "has finite numbers, or a failure that says why",
}


def check_solver(
    solver: str | Solver,
    *,
    spec: HardwareSpec | str = "generic-4bit",
    linear: bool = True,
    bound: float | None = 1e-9,
    seed: int = 0,
    throw: bool = True,
) -> CheckReport:
    """Check the contract of a solver of `hrat.simulate`, in float64.

    Two chips of a small network, a convolution and a linear layer, are solved: `models` returns for each layer gains or
    callables of the right number, shapes and types; nothing is changed that belongs to others; chips and images are
    solved as one by one; no voltage yields the bias; offset, noise, gain and tolerance of a chip's amplifiers are met,
    and the noise of its devices; and broken wires yield finite numbers or a failure that says why.

    Args:
        solver: an object with `name`, `making` and `models` (`hrat.simulation.Solver`), or the name of a known one.
        spec: the hardware; call once for each read-out or kind of tile that the solver claims to know.
        linear: whether it claims to be linear in the voltages.
        bound: largest difference from the behavioural solution on ideal wires, relative to the largest output; None
            where the solver does not claim to agree, as with curved devices or real amplifiers.
        seed: seed of network and chips.
        throw: False to return a report with what is broken.

    Returns:
        A finding for each clause.

    Raises:
        LawError: a clause is broken, and `throw` is on.
        HratError: an unknown name, or an object that is no solver.
    """
    known = SOLVERS.get(solver) if isinstance(solver, str) else solver
    if known is None or isinstance(known, type) or not callable(getattr(known, "models", None)):
        raise HratError(f"expected a solver, or one of {', '.join(SOLVERS)}; got {solver!r}")
    case = _Case(known, load_spec(spec), seed)
    checks: dict[str, Callable[[], Finding]] = {
        "models": case.models_are_sound,
        "chip": case.chip_is_left_alone,
        "repeat": case.repeats,
        "chips": case.chips_one_by_one,
        "images": case.images_one_by_one,
        "bias": case.zero_gives_bias,
        "linear": lambda: case.linear(linear),
        "formula": lambda: case.agrees(bound),
        "errors": lambda: _Case(known, load_spec(spec).replace(ERRORS), seed).meets_errors(bound),
        "failure": case.failure_is_a_value,
    }
    findings = tuple(held(name, CLAIMS[name], check) for name, check in checks.items())
    report = CheckReport(subject=f"contract of the solver {getattr(known, 'name', known)}", findings=findings)
    return report.require() if throw else report


class _Case:
    """A solver, and chips to try it on."""

    def __init__(self, solver: Solver, spec: HardwareSpec, seed: int) -> None:
        self.solver = solver
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers = (nn.Conv2d(2, 3, 2, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 3))
            model = nn.Sequential(*layers).double().eval()
        self.images = torch.randn(IMAGES, 2, 4, 4, dtype=torch.float64, generator=generator)
        self.chip = program(deploy(prepare(model, spec, self.images)), seed=seed, chips=CHIPS)
        self.names = list(self.chip.layers)
        v_read_V = spec.device.v_read_V
        self.voltages_V = {
            name: v_read_V * (2 * torch.rand(shape, dtype=torch.float64, generator=generator) - 1)
            for name, shape in zip(self.names, ((IMAGES, 2, 4, 4), (IMAGES, 12)), strict=True)
        }

    def models(self, chip: ProgrammedChip | None = None) -> tuple[dict[str, LayerModel], Statistics]:
        """Models of the layers, and statistics of their solution."""
        statistics: Statistics = {}
        return self.solver.models(chip or self.chip, self.names, torch.device("cpu"), statistics), statistics

    def outputs(self, scale: float = 1.0, chip: ProgrammedChip | None = None) -> list[Tensor]:
        """Amplifier outputs of all layers and chips, V, for the voltages times a factor."""
        models, _ = self.models(chip)
        n_chips = (chip or self.chip).n_chips
        return [
            self._output(name, model, index, self.voltages_V[name] if scale == 1 else scale * self.voltages_V[name])
            for name, model in models.items()
            for index in range(n_chips)
        ]

    def _output(self, name: str, model: LayerModel, index: int, voltage_V: Tensor) -> Tensor:
        layer = self.chip.deployment.layers[name]
        gains = _gains(model)
        if gains is None:
            return model[index](voltage_V)  # type: ignore[operator]
        readout = LayerReadout.of(layer.geometry, self.chip.deployment.spec)
        of_chip = tuple(gain[index] for gain in gains)
        return readout.volts(voltage_V, of_chip, full_scale_V=layer.tile_adc_V, bias_V=layer.bias_V)

    def models_are_sound(self) -> Finding:
        solver, spec = self.solver, self.chip.deployment.spec
        hash(solver)
        wrong = []
        if not isinstance(solver.name, str) or not solver.name:
            wrong.append(f"name: expected a text, got {solver.name!r}")
        making = solver.making(spec)
        if not isinstance(making, int) or making < 0:
            wrong.append(f"making: expected a whole number of at least 0, got {making!r}")
        models, _ = self.models()
        if set(models) != set(self.names):
            wrong.append(f"models of {', '.join(models) or 'no layer'}; expected {', '.join(self.names)}")
        wrong += [sentence for name in self.names if name in models for sentence in self._unsound(name, models[name])]
        return true_or_not("models", CLAIMS["models"], not wrong, "; ".join(wrong))

    def _unsound(self, name: str, model: LayerModel) -> list[str]:
        """Faults of the model of a layer."""
        layer = self.chip.deployment.layers[name]
        gains = _gains(model)
        if gains is not None:
            readout = LayerReadout.of(layer.geometry, self.chip.deployment.spec)
            want = [(CHIPS, *geometry.weight_shape) for geometry in readout.term_geometries]
            shapes = [tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__ for part in gains]
            return [] if shapes == want else [f"layer {name}: gains of shapes {shapes}, expected {want}"]
        if len(model) != CHIPS or not all(map(callable, model)):
            return [f"layer {name}: {len(model)} parts, expected a callable for each of {CHIPS} chips"]
        weight = torch.empty(layer.geometry.weight_shape, dtype=torch.float64)
        shape = layer.geometry.apply(self.voltages_V[name], weight).shape
        out = self._output(name, model, 0, self.voltages_V[name])
        if out.shape != shape or not out.is_floating_point():
            return [f"layer {name}: output {out.dtype} of shape {tuple(out.shape)}, expected {tuple(shape)} in V"]
        return []

    def chip_is_left_alone(self) -> Finding:
        before = copy.deepcopy([(layer.g_pos_S, layer.g_neg_S) for layer in self.chip.layers.values()])
        given = copy.deepcopy(self.voltages_V)
        self.outputs()
        _, statistics = self.models()
        after = [(layer.g_pos_S, layer.g_neg_S) for layer in self.chip.layers.values()]
        bad = [
            f"{n}.{k}" for n, of_it in statistics.items() for k, v in of_it.items() if not isinstance(v, int | float)
        ]
        detail = f"statistics that are no numbers: {', '.join(bad)}"
        return merged(
            [
                compared("chip", CLAIMS["chip"], after, before, 0.0, where="conductances after the call, "),
                compared("chip", CLAIMS["chip"], self.voltages_V, given, 0.0, where="voltages after the call, "),
                true_or_not("chip", CLAIMS["chip"], not bad, detail if bad else ""),
            ]
        )

    def repeats(self) -> Finding:
        return compared("repeat", CLAIMS["repeat"], self.outputs(), self.outputs(), SAME, where="layer and chip ")

    def chips_one_by_one(self) -> Finding:
        whole = simulate(self.chip, self.images, solver=self.solver).value
        alone = torch.cat([simulate(self.chip[i], self.images, solver=self.solver).value for i in range(CHIPS)])
        return compared("chips", CLAIMS["chips"], whole, alone, SAME, where="together, output")

    def images_one_by_one(self) -> Finding:
        whole = simulate(self.chip, self.images, solver=self.solver).value
        parts = [simulate(self.chip, one[None], solver=self.solver).value for one in self.images]
        return compared("images", CLAIMS["images"], whole, torch.cat(parts, 1), SAME, where="together, output")

    def zero_gives_bias(self) -> Finding:
        outputs, want = self.outputs(0.0), []
        for name in self.names:
            layer = self.chip.deployment.layers[name]
            zero = layer.geometry.apply(
                0 * self.voltages_V[name], torch.zeros(layer.geometry.weight_shape, dtype=torch.float64)
            )
            want += [zero if layer.bias_V is None else zero + layer.geometry.channel_view(layer.bias_V)] * CHIPS
        outputs = [out.double() for out in outputs]
        return compared("bias", CLAIMS["bias"], outputs, want, 1e-9, where="layer and chip ")

    def linear(self, claimed: bool) -> Finding:
        if not claimed:
            return unchecked("linear", CLAIMS["linear"], "it does not claim to be (linear=False)")
        if self.chip.deployment.spec.periphery.partial_sums == "adc":
            return unchecked("linear", CLAIMS["linear"], "the ADCs of the tiles round their partial sums")
        nothing, half, quarter = (self.outputs(scale) for scale in (0.0, 0.05, 0.025))
        doubled = [zero + 2 * (q - zero) for zero, q in zip(nothing, quarter, strict=True)]
        return compared("linear", CLAIMS["linear"], half, doubled, 1e-9, where="twice the voltage, layer and chip ")

    def meets_errors(self, bound: float | None) -> Finding:
        return replace(self.agrees(bound), name="errors", claim=CLAIMS["errors"])

    def agrees(self, bound: float | None) -> Finding:
        if bound is None:
            return unchecked("formula", CLAIMS["formula"], "it does not claim to be (bound=None)")
        bare = self.chip.with_array(limit_wires=False)
        value, voltages_V = outputs_and_voltages(bare, self.images, self.solver)
        want, want_V = outputs_and_voltages(bare, self.images)
        return merged(
            [
                compared("formula", CLAIMS["formula"], value, want, bound),
                compared("formula", CLAIMS["formula"], voltages_V, want_V, bound, where="voltages of layer "),
            ]
        )

    def failure_is_a_value(self) -> Finding:
        hopeless = self.chip.with_array(limit_wires=True, r_word_ohm=HUGE_OHM)
        result = simulate(hopeless, self.images, solver=self.solver, throw=False)
        wrong = []
        for index, chip_seed in enumerate(result.seeds):
            finite = all(bool(tensor[index].isfinite().all()) for _, tensor in named_tensors(result.value))
            if chip_seed not in result.failures and not finite:
                wrong.append(f"chip {chip_seed} has values that are not finite and no SolverError says why")
            if chip_seed in result.failures and not result.failures[chip_seed].strip():
                wrong.append(f"chip {chip_seed} failed without a word")
        return true_or_not("failure", CLAIMS["failure"], not wrong, "; ".join(wrong))


def _gains(model: LayerModel) -> tuple[Tensor, ...] | None:
    """Gains of a model that has some; None where it has callables."""
    if isinstance(model, LinearModel):
        return model.gains
    return model if any(isinstance(part, Tensor) for part in model) else None  # type: ignore[return-value]
