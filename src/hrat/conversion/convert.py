"""`prepare`: convert an ordinary network to one that trains as the chip computes.

The steps:

1. trace the model to a graph in normal form (`trace`, helped by `tracer`, `calls` and `written_out`);
2. pair each linear operation with the batch norm behind it, or in front of it where that is exact (`batch_norms`);
3. decide for each value whether it is a voltage or a digital number (`domains`), and put DACs, ADCs and output
   rescaling in between (`borders`);
4. unite the scales of signals that meet (`signals`), and give each its `Scale` (`scales`);
5. replace the linear operations by `CrossbarLayer`s (`build`);
6. write the result down as the circuit of a chip (`emit`), and fuse the clamps around its layers (`clamp_fusion`);
7. check on the example, and on another input, that with all restrictions off nothing has changed (`proof`).
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hrat.conversion.batch_norms import fuse_batch_norms, wrap_digital_batch_norms
from hrat.conversion.borders import insert_borders
from hrat.conversion.build import LayerBuilder
from hrat.conversion.clamp_fusion import fuse_clamps
from hrat.conversion.differences import ROUNDINGS, moved_by_rounding, where_it_differs
from hrat.conversion.domains import Domains, digital_rows, mark_domains
from hrat.conversion.emit import emit_circuit
from hrat.conversion.modes import clone_for_conversion
from hrat.conversion.nests import tensors_in
from hrat.conversion.network import Network
from hrat.conversion.proof import DiffersError, Reference
from hrat.conversion.scales import ScaleMode, Scales
from hrat.conversion.signals import unite_signals
from hrat.conversion.trace import LINEAR_MODULES, Traced, example_args, refuse_parametrised, trace
from hrat.conversion.written_out import write_out
from hrat.errors import ConversionError
from hrat.nn import (
    BATCH_NORM_FORMS,
    OUTPUT_PEAK,
    BatchNormForm,
    ConversionReport,
    DigitalOperationRow,
    InputDac,
    LayerRow,
    NoiseSource,
    OutputAdc,
    PreparedModel,
)
from hrat.spec import HardwareSpec, load_spec

__all__ = ["prepare"]


def prepare(
    model: nn.Module,
    spec: HardwareSpec | str,
    example_input: Any,
    *,
    scales: ScaleMode = "signal",
    batch_norm: BatchNormForm = "one_pass",
    output_peak: float = OUTPUT_PEAK,
    generator: torch.Generator | None = None,
    check: bool = True,
    inplace: bool = False,
) -> PreparedModel:
    """Convert `model` into one whose forward pass is that of a crossbar chip. The original is not changed.

    Args:
        model: any `nn.Module` whose forward does not branch on the values of tensors.
        spec: the hardware, or what `hrat.load_spec` takes.
        example_input: a tensor, a tuple of positional arguments, or a dict of keyword arguments, as the model takes
            them; a batch of two or more real inputs gives the scales a good start. The batch size stays free.
        scales: one learned scale per `"signal"`, or one for each `"channel"` where that can vanish into the weights.
        batch_norm: where batch statistics come from in training, see `hrat.nn.BatchNormForm`.
        output_peak: magnitude that the outputs must be able to reach at the start, in digital units. An
            untrained classifier's outputs are far smaller than those that cross entropy drives it to. Give a smaller
            one for a regression whose outputs stay small, or call `hrat.calibrate` afterwards.
        generator: source of the programming errors in training; torch's default one where none is given.
        check: whether to compare outputs and gradients with the original's on another input than the example as well,
            which takes a pass forward and back of both, of a few images where the network takes these.
        inplace: take the model itself in place of a copy, which saves its memory. It is of no use afterwards: its
            modules are parts of the prepared one, or gone.

    Returns:
        A module with the call of `model`, in its training/eval mode. `print(prepared.report)` shows the conversion.

    Raises:
        ConversionError: the model, or a part of it that the message names, cannot be mapped.
        SpecError: the spec is not valid.
    """
    if not isinstance(model, nn.Module):
        raise ConversionError(f"expected a torch.nn.Module to prepare, got {type(model).__name__}")
    spec = load_spec(spec)
    if scales not in ("signal", "channel"):
        raise ConversionError(f"expected scales='signal' or 'channel', got {scales!r}")
    if batch_norm not in BATCH_NORM_FORMS:
        raise ConversionError(f"expected batch_norm to be one of {', '.join(BATCH_NORM_FORMS)}, got {batch_norm!r}")
    refuse_parametrised(model)
    _refuse_bad_names(model)
    _refuse_bad_weights(model)
    args, kwargs = example_args(example_input)
    for value in tensors_in((args, kwargs)):
        if value.numel() == 0 or bool(torch.isnan(value).any()):
            raise ConversionError(
                "the example input is empty or has values that are not a number; expected a batch of real inputs"
            )
    if not output_peak > 0:
        raise ConversionError(f"expected a positive output_peak, got {output_peak}")
    training = model.training
    clone = clone_for_conversion(model, LINEAR_MODULES, inplace=inplace)
    reference = Reference(clone.module, args, kwargs, others=check)
    failure = reference.failure
    copied = write_out(clone.module)
    try:
        traced = trace(copied, args, kwargs, clone.notes)
    except ConversionError as error:
        if failure is None or "example input" in str(error):  # which says at which node
            raise
        raise _does_not_pass(copied, failure) from failure
    if failure is not None:
        raise _does_not_pass(copied, failure) from failure
    _refuse_infinite_signals(traced)
    if traced.own_gradients and not check:
        traced.notes.append(
            f"gradients of its own ({', '.join(traced.own_gradients)}) are those of what its forward does"
        )
    original = None if inplace else model
    _held(lambda: reference.hold_against_traced(traced), original, (args, kwargs))
    prepared = _converted(traced, spec, _Options(scales, batch_norm, output_peak, NoiseSource(generator))).eval()
    _held(lambda: reference.hold_against(prepared, traced.coarsest), original, (args, kwargs))
    return prepared.train(training)


def _held(
    check: Callable[[], None], original: nn.Module | None, example: tuple[tuple[Any, ...], dict[str, Any]]
) -> None:
    """Make a check of the converted network, unless rounding alone moves the original's outputs as far.

    Raises:
        ConversionError: they differ; with the place where that begins, if the original is still there.
    """
    try:
        check()
    except DiffersError as error:
        if original is None:
            raise
        if error.off <= ROUNDINGS * moved_by_rounding(original, error.inputs):
            return
        raise ConversionError(f"{error}{where_it_differs(original, example, error.inputs)}") from None


@dataclass(frozen=True)
class _Options:
    """Options of `prepare`, beside model and hardware."""

    scales: ScaleMode
    batch_norm: BatchNormForm
    output_peak: float
    noise: NoiseSource


def _converted(traced: Traced, spec: HardwareSpec, options: _Options) -> PreparedModel:
    """Steps 2 to 6: the passes, one after the other."""
    network = Network(traced, spec)
    blocks = fuse_batch_norms(network)
    if not blocks and not network.recurrences():
        raise ConversionError(
            "the model has no linear layer or convolution that a crossbar could hold; expected at least one"
        )
    domains = mark_domains(network, blocks)
    insert_borders(network, domains)
    digital = digital_rows(network, domains)
    signals = unite_signals(network, domains, blocks)
    scales = Scales(network, signals, blocks, mode=options.scales, output_peak=options.output_peak)
    loops = len(network.recurrences())
    rows = LayerBuilder(network, scales, options.batch_norm, options.noise).build(blocks)
    wrap_digital_batch_norms(network)
    network.drop_unused()
    circuit = fuse_clamps(network, emit_circuit(network))
    network.graph.lint()
    network.module.recompile()
    row_of = {row.name: row for row in rows}
    in_order = [row_of[name] for name in circuit.first_calls()]
    report = _report(network, domains, scales, in_order, digital, loops)
    return PreparedModel(
        network.module, circuit, spec, report, options.noise, arguments=network.arguments, form=network.form
    )


def _report(
    network: Network,
    domains: Domains,
    scales: Scales,
    layers: list[LayerRow],
    digital: list[DigitalOperationRow],
    loops: int,
) -> ConversionReport:
    spec = network.spec
    if spec.periphery.partial_sums == "adc" and not any(row.tile_adc_bits for row in layers):
        network.notes.append(
            f"no layer has more inputs than a tile has rows ({spec.array.rows}): there are no partial sums, "
            "and partial_sums = 'adc' has no effect"
        )
    return ConversionReport(
        layers=layers,
        digital_operations=digital,
        scales={name: scale.log_alpha.numel() if scale.log_alpha.ndim else None for name, scale in scales.made.items()},
        notes=network.notes,
        adcs=len(list(network.calls_of(OutputAdc))) + len(domains.summed) + loops,
        dacs=len(list(network.calls_of(InputDac))) + loops,
    )


def _refuse_infinite_signals(traced: Traced) -> None:
    """Infinities are for masks: a signal that a DAC is to drive has none."""
    for node in traced.module.graph.nodes:
        seen = node.meta.get("seen")
        if node.op != "placeholder" or seen is None or not math.isinf(seen.peak):
            continue
        for user in node.users:
            module = traced.module.get_submodule(str(user.target)) if user.op == "call_module" else None
            if isinstance(module, LINEAR_MODULES):
                raise ConversionError(
                    f"the example input '{node.target}' has infinite values and drives the layer '{user.target}'; "
                    "expected real inputs there"
                )


def _does_not_pass(copied: nn.Module, failure: Exception) -> ConversionError:
    return ConversionError(
        f"the example input does not pass through {type(copied).__name__} itself: {type(failure).__name__}: {failure}"
    )


def _refuse_bad_names(model: nn.Module) -> None:
    """Names of modules become source code of the graph, which torch.fx writes."""
    for path, module in model.named_modules():
        for name in (child for child, _ in module.named_children()):
            if not name.isprintable() or keyword.iskeyword(name) or any(mark in name for mark in '"\\'):
                raise ConversionError(
                    f"module {name!r}{f' of {path!r}' if path else ''}: expected a printable name without quotes and "
                    "backslashes that is no keyword of Python; give it another one (add_module)"
                )


def _refuse_bad_weights(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.is_meta or not parameter.is_floating_point() or isinstance(parameter, nn.UninitializedParameter):
            continue
        if not bool(torch.isfinite(parameter).all()):
            raise ConversionError(f"parameter '{name}' has values that are not finite; expected a sound model")
