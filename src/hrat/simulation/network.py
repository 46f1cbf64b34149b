"""The network of a chip, worked through layer by layer, each layer at its own depth.

Each layer is `v_out = clamp_swing(amplifier(v_in))`, with `v_in` held within the read threshold; what the array and its
amplifiers make of the word lines' voltages is the matter of a solver (`hrat.simulation.solvers`). Nothing of training
is used. Where the two clamps are done, `hrat.circuit.clamps` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, cast

import torch
from torch import Tensor

from hrat.artifacts import ProgrammedChip
from hrat.circuit import Input, layer_of
from hrat.errors import HratError
from hrat.physics import ChipReads, Draw, has_reading_errors
from hrat.simulation.behavioural import Behavioural
from hrat.simulation.limits import Sizes, check_held, check_value, most_bytes
from hrat.simulation.memory import Footprint
from hrat.simulation.nested import bytes_of, changed, first_tensor, stacked, tensors_of
from hrat.simulation.solvers import LayerModel, LinearModel, Solver, SolverError, linear_model
from hrat.simulation.steps import ChipSteps, Gain, Gains, Step, Values, take

__all__ = ["ChipSolver"]

Record = Mapping[str, Callable[[Tensor], None]]
"""For each layer of interest, what to call with its amplifier outputs."""

_BEHAVIOURAL: Solver = Behavioural()


class ChipSolver:
    """Solver of whole chips: arrays are solved once at its creation, then `compute` serves many inputs."""

    def __init__(
        self,
        chip: ProgrammedChip,
        *,
        solvers: Mapping[str, Solver] | None = None,
        device: torch.device | str = "cpu",
        together: bool | None = None,
        throw: bool = True,
    ) -> None:
        """Solve the arrays, as far as that can be done before inputs are known, and turn the graph into steps.

        Args:
            chip: one or several chips.
            solvers: the solver of each layer by its name; the behavioural one for layers that are not named.
            device: where to compute.
            together: whether all chips pass each operation at the same time. Not on a CPU unless asked for: one chip
                after the other keeps its caches warm, and 20 LeNet-5 chips at once would take it twice as long.
            throw: False to go on where a layer of a chip cannot be solved: its outputs are not numbers from there on,
                and `failures` says why.

        Raises:
            SolverError: a layer cannot be solved, and `throw` is on.
        """
        self.deployment = chip.deployment
        self.device = torch.device(device)
        self.n_chips = chip.n_chips
        self.throw = throw
        self.failures: dict[int, str] = {}
        """Why a chip has no result, by its place among the chips."""
        self.statistics: dict[str, dict[str, float]] = {}
        """Statistics of each layer by its solver."""
        spec = chip.deployment.spec
        # Sizes are asked for without a reading.
        reads = has_reading_errors(spec.device, spec.periphery) and self.device.type != "meta"
        self._reads = [ChipReads(seed) for seed in chip.seeds] if reads else []
        self.gains = self._models(chip, solvers or {})
        self._gains_of = [
            {name: self._gain_of(name, model, index) for name, model in self.gains.items()}
            for index in range(chip.n_chips)
        ]
        only_gains = not reads and all(isinstance(model, LinearModel) for model in self.gains.values())
        self.together = only_gains and (_is_better_together(self.device) if together is None else together)
        self._circuit = ChipSteps(chip.deployment, self.device, self.together)
        self._steps = self._circuit.steps(merge=True)
        self._layer_at = {node.name: layer for node in chip.deployment.graph if (layer := layer_of(node)) is not None}

    def _models(self, chip: ProgrammedChip, solvers: Mapping[str, Solver]) -> dict[str, LayerModel]:
        """The layers, those of one solver together."""
        solver_by_layer = {name: solvers.get(name, _BEHAVIOURAL) for name in chip.layers}
        models: dict[str, LayerModel] = {}
        for solver in dict.fromkeys(solver_by_layer.values()):
            names = [name for name in chip.layers if solver_by_layer[name] == solver]
            try:
                models.update(solver.models(chip, names, self.device, self.statistics))
            except SolverError as error:
                if self.throw:
                    raise
                models.update(dict.fromkeys(names, (partial(_fail, error),) * chip.n_chips))
        return {name: _with_errors(chip, name, model) for name, model in models.items()}

    def _gain_of(self, name: str, model: LayerModel, index: int) -> Gain:
        """Gain or solver of one layer on one chip."""
        draw = (self._reads[index].of_layer(name),) if self._reads else ()
        if isinstance(model, LinearModel):
            return model.of_chip(index, draw)
        solve: Callable[..., Tensor] = model[index]  # type: ignore[assignment]
        geometry, dtype = self.deployment.layers[name].geometry, self.deployment.layers[name].g_pos_S.dtype
        nothing = torch.empty(geometry.weight_shape, device="meta")

        def guarded(voltage_V: Tensor) -> Tensor:
            # Once a chip has failed, there is nothing more to find out.
            if index not in self.failures:
                try:
                    return solve(voltage_V, *draw).to(device=self.device, dtype=dtype)
                except SolverError as error:
                    if self.throw:
                        raise
                    self.failures[index] = str(error)
            shape = geometry.apply(voltage_V.to("meta", nothing.dtype), nothing).shape
            return torch.full(shape, math.nan, dtype=dtype, device=self.device)

        return guarded

    @cached_property
    def _steps_with_voltages(self) -> tuple[list[Step], list[Step]]:
        """The steps at which every amplifier's output is a value of its own."""
        return self._circuit.steps(merge=False)

    def compute(self, inputs: Mapping[str, Any], *, record: Record | None = None, first_image: int = 0) -> Any:
        """Outputs of every chip.

        Args:
            inputs: the network's arguments by name; tensors `(images, ...)`.
            record: for each layer of interest a function to call with its amplifier outputs `(chips, images, ...)`, V.
            first_image: number of the first image over all calls, by which readings differ.

        Returns:
            What the network returns, each tensor `(chips, images, ...)`.

        Raises:
            SolverError: a chip cannot be solved, or what it yields is not a number, and `throw` is on.
        """
        record = record or {}
        for_all, for_each = self._steps_with_voltages if record else self._steps
        common = self._arguments(inputs)
        take(for_all, common, {})
        for reads in self._reads:
            reads.begin(first_image)

        def one(gains: Gains) -> tuple[Any, dict[str, Tensor]]:
            voltages_V: dict[str, Tensor] = {}

            def note(name: str, values: Values) -> None:
                if self._layer_at.get(name) in record:
                    voltages_V[self._layer_at[name]] = _voltages_in(values[name])

            return take(for_each, dict(common), gains, note if record else None), voltages_V

        if self.together:
            out, recorded = torch.vmap(one)(cast(Gains, self.gains))
        else:
            out, recorded = stacked([one(gains) for gains in self._gains_of])
        self._check_numbers(out, recorded)
        for layer, voltage_V in recorded.items():
            record[layer](voltage_V)
        return out

    def _check_numbers(self, out: Any, recorded: dict[str, Tensor]) -> None:
        """Take chips whose outputs or voltages are not numbers for failed: no class and no mean comes of them.

        Raises:
            SolverError: there is one, and `throw` is on.
        """
        for what, values in (("outputs", out), *((f"voltages of layer '{name}'", v) for name, v in recorded.items())):
            bad = {
                index
                for value in tensors_of(values)
                if value.is_floating_point()
                for index in value.isnan().reshape(len(value), -1).any(1).nonzero().flatten().tolist()
            }
            for index in sorted(bad - self.failures.keys()):
                why = (
                    f"the {what} are not numbers (NaN); expected finite gains and scales: do the feedback resistance, "
                    "the converters' scales and the constants of the network fit its conductances?"
                )
                if self.throw:
                    raise SolverError(why)
                self.failures[index] = why

    @classmethod
    def footprint(
        cls,
        chip: ProgrammedChip,
        inputs: Mapping[str, Any],
        *,
        solvers: Mapping[str, Solver] | None = None,
        device: torch.device | str = "cpu",
        voltages_of: Sequence[str] = (),
        n_images: int | None = None,
    ) -> Footprint:
        """Memory that one of the chips takes, from a run on tensors that have shapes and no memory.

        Args:
            chip: one or several chips, of which the first is looked at.
            inputs: the network's arguments by name.
            solvers: as of the solver.
            device: as of the solver.
            voltages_of: layers whose voltages are kept.
            n_images: images in the inputs; the first dimension of the first tensor if None.
        """
        probe = cls(chip[0], device="meta")
        for_all, for_each = probe._steps_with_voltages if voltages_of else probe._steps
        values = probe._arguments(changed(dict(inputs), lambda tensor: tensor.to("meta")))
        n_images = first_tensor(values).shape[0] if n_images is None else n_images
        at_work, voltages = [0], {}
        most = most_bytes(values, probe.gains, chip.deployment.tensors)

        def weigh(name: str, values: Values) -> None:
            check_value(name, values[name], most)
            held = bytes_of(values)
            check_held(name, held, most)
            at_work.append(held + probe._workspace(name, values))
            if probe._layer_at.get(name) in voltages_of:
                voltages[name] = bytes_of(_voltages_in(values[name]))

        with Sizes(most):
            out = take(for_all + for_each, values, probe._gains_of[0], weigh)
        gains = {name: bytes_of(gain) for name, gain in probe.gains.items()}
        spec = chip.deployment.spec
        making = {name: (solvers or {}).get(name, _BEHAVIOURAL).making(spec) for name in gains}
        return Footprint(
            gains=sum(gains.values()),
            making=max((gains[name] * making[name] for name in gains), default=0),
            signals=-(-max(at_work) // n_images),
            outputs=-(-bytes_of(out) // n_images),
            voltages=-(-sum(voltages.values()) // n_images),
            together=_is_better_together(torch.device(device)),
        )

    def without_numbers(self, inputs: Mapping[str, Any]) -> Any:
        """What the network returns, as tensors that have shapes and no memory; for a solver on the device "meta".

        Raises:
            HratError: the inputs do not fit the network.
        """
        for_all, for_each = self._steps
        values = self._arguments(changed(dict(inputs), lambda tensor: tensor.to("meta")))
        with Sizes(most_bytes(values, self.gains, self.deployment.tensors)):
            return take(for_all + for_each, values, self._gains_of[0])

    @classmethod
    def sizes(cls, chip: ProgrammedChip, inputs: Mapping[str, Any], n_images: int | None = None) -> dict[str, int]:
        """Numbers that each node of the graph yields for an input, from a run on tensors that have no memory."""
        probe = cls(chip[0], device="meta")
        for_all, for_each = probe._steps_with_voltages
        values = probe._arguments(changed(dict(inputs), lambda tensor: tensor.to("meta")))
        n_images = first_tensor(values).shape[0] if n_images is None else n_images
        numbers: dict[str, int] = {}
        most = most_bytes(values, probe.gains, chip.deployment.tensors)

        def count(name: str, values: Values) -> None:
            check_value(name, values[name], most)
            check_held(name, bytes_of(values), most)
            numbers[name] = sum(tensor.numel() for tensor in tensors_of(values[name])) // n_images

        with Sizes(most):
            take(for_all + for_each, values, probe._gains_of[0], count)
        return numbers

    def _workspace(self, name: str, values: Values) -> int:
        """Bytes that a convolution takes beside its input and output, as measured on a CPU."""
        layer = self._layer_at.get(name.removesuffix(".amplifier"))
        if layer is None or not name.endswith(".amplifier"):
            return 0
        if layer in self._circuit.summed:  # partial sums, and what becomes of them in three steps
            return 4 * self._circuit.readouts[layer].n_sums * bytes_of(values[name])
        if not self.deployment.layers[layer].geometry.dims:
            return 0
        if values[name].dtype != torch.float64:
            return bytes_of(values)  # both in layouts that suit the processor
        rows = math.prod(self.deployment.layers[layer].geometry.matrix_shape[:2])
        return rows * bytes_of(values[name][:, 0])  # all patches, lined up

    def _arguments(self, inputs: Mapping[str, Any]) -> Values:
        """The network's arguments by the names of their nodes."""
        values = {}
        for node in self.deployment.graph:
            if isinstance(node, Input):
                name = node.argument
                if name not in inputs and not node.default:
                    raise HratError(f"the network's input '{name}' is missing; got {', '.join(inputs) or 'none'}")
                values[node.name] = inputs[name] if name in inputs else node.default[0]
        return values


def _voltages_in(value: Any) -> Tensor:
    """The amplifiers' outputs in what a node with a layer yields: a recurrence has them last."""
    return cast(Tensor, value[-1] if isinstance(value, tuple) else value)


def _with_errors(chip: ProgrammedChip, name: str, model: LayerModel) -> LayerModel:
    """The model of a layer, with the errors of its amplifiers where the solver gives gains alone."""
    if isinstance(model, LinearModel) or not all(isinstance(part, Tensor) for part in model):
        return model
    (of_gains, *_), programmed = model, chip.layers[name]
    assert isinstance(of_gains, Tensor)
    seen_S = (programmed.g_pos_S.to(of_gains.device), programmed.g_neg_S.to(of_gains.device))
    return linear_model(chip, name, seen_S)._replace(gains=cast("tuple[Tensor, ...]", model))


def _fail(error: SolverError, voltage_V: Tensor, *draw: Draw) -> Tensor:
    """Raise the error of a layer that could not be set up."""
    del voltage_V, draw
    raise error


def _is_better_together(device: torch.device) -> bool:
    """Whether operations take less time than their launch, so that several chips should share them."""
    return device.type not in ("cpu", "meta")
