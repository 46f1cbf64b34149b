"""Law 4: the circuit agrees with the formula, by a nodal solution and by SPICE."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from hrat.artifacts import ProgrammedChip
from hrat.errors import HratError
from hrat.simulation import Amplifier, Metered, Spice, simulate
from hrat.simulation.spice import find_ngspice, rectified_layers
from hrat.testing.compare import compared, some_images
from hrat.testing.report import Finding, merged, unchecked

__all__ = ["CIRCUIT_TOLERANCE", "IDEAL_SPICE", "nodal_agrees", "outputs_and_voltages", "spice_agrees", "spice_work"]

CIRCUIT_TOLERANCE = 1e-9
"""Largest difference, relative to the largest output, in float64."""
IDEAL_SPICE = Spice(amplifier=Amplifier(gain=None))
SPICE_IMAGES = (2, 1)
SPICE_WORK = 3_000_000
"""Devices times inputs that they see in a check by SPICE, at most: some seconds."""


def nodal_agrees(chip: ProgrammedChip, inputs: Any, bound: float = CIRCUIT_TOLERANCE) -> Finding:
    """Law 4: the behavioural and the nodal solution are equal on ideal wires.

    Args:
        chip: one or several chips; wires with resistance are taken for ideal ones.
        inputs: inputs as the network takes them.
        bound: largest difference, relative to the largest output.
    """
    claim = "the circuit agrees, by the nodal solver"
    bare = chip.with_array(limit_wires=False)
    want = simulate(bare, inputs).value
    no_ohms = chip.with_array(limit_wires=True, r_word_ohm=0.0, r_bit_ohm=0.0, r_driver_ohm=0.0, r_sense_ohm=0.0)
    return merged(
        [
            compared("law 4, nodal", claim, simulate(bare, inputs, solver="nodal").value, want, bound),
            compared(
                *("law 4, nodal", claim, simulate(no_ohms, inputs, solver="nodal").value, want, bound),
                where="wires of 0 ohm, output",
            ),
            compared(
                *("law 4, nodal", claim, simulate(no_ohms, inputs).value, want, bound),
                where="wires of 0 ohm in the behavioural solver, output",
            ),
        ]
    )


def spice_agrees(chip: ProgrammedChip, inputs: Any, bound: float = CIRCUIT_TOLERANCE) -> Finding:
    """Law 4: SPICE with ideal parts gives the outputs, and the voltages of every layer, of the behavioural solver.

    The first chip is taken, on ideal wires, and of inputs that are a single tensor the first two images. The check is
    not made where ngspice is not found, fails, or would take long; the finding then says so.

    Args:
        chip: one or several chips.
        inputs: inputs as the network takes them.
        bound: largest difference, relative to the largest value.
    """
    claim = "the circuit agrees, by SPICE with ideal parts"
    one = chip[0].with_array(limit_wires=False)
    try:
        find_ngspice().check_size(one.deployment.n_devices, wires=False)
        some, work = _few_images(one, inputs)
        if work > SPICE_WORK:
            why = f"it would take long: {work:,} devices times inputs that they see; at most {SPICE_WORK:,} are tried"
            return unchecked("law 4, SPICE", claim, why)
        value, voltages_V = outputs_and_voltages(one, some)
        spice_value, spice_V = outputs_and_voltages(one, some, IDEAL_SPICE)
    except HratError as error:
        return unchecked("law 4, SPICE", claim, str(error))
    return merged(
        [
            compared("law 4, SPICE", claim, spice_V, voltages_V, bound, where="voltages of layer "),
            compared("law 4, SPICE", claim, spice_value, value, bound),
        ]
    )


def _few_images(chip: ProgrammedChip, inputs: Any) -> tuple[Any, int]:
    """Inputs that SPICE can do, and the work that they are: two images, one, or all where the network needs these."""
    for n in SPICE_IMAGES:
        try:
            work = spice_work(chip, some_images(inputs, n))
        except HratError:  # the first dimension counts no images
            break
        if work <= SPICE_WORK or n == SPICE_IMAGES[-1]:
            return some_images(inputs, n), work
    return inputs, spice_work(chip, inputs)


def outputs_and_voltages(
    chip: ProgrammedChip, inputs: Any, solver: Any = "behavioural"
) -> tuple[Any, dict[str, Tensor]]:
    """Outputs of a chip's network, and of each layer, V: behind its ReLU, which a circuit makes itself."""
    result = simulate(chip, inputs, solver=solver, voltages_of=list(chip.layers))
    rectified = rectified_layers(chip.deployment)
    return result.value, {name: v.relu() if name in rectified else v for name, v in result.voltages.items()}


def spice_work(chip: ProgrammedChip, inputs: Any) -> int:
    """Devices times inputs that they see: the sum over layers of devices times matrix-vector products."""
    products = simulate(chip, inputs, solver=Metered()).statistics
    return sum(
        round(sums["products"]) * 2 * chip.deployment.layers[name].g_pos_S.numel() for name, sums in products.items()
    )
