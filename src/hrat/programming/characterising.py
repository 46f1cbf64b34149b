"""`characterise`: run a scheme on many virtual devices, and make a table of it from which training can draw."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hrat.artifacts import Characterisation, PulseColumns, StateFigures, Status
from hrat.errors import HratError
from hrat.programming.schemes import SCHEMES
from hrat.seeds import check_seed
from hrat.spec import TABLE_PROBABILITIES, HardwareSpec

__all__ = ["characterise"]

FEWEST_DEVICES = 100
STATES_OF_A_CONTINUUM = 17
"""Targets over the window where the conductance has no states."""


def characterise(
    spec: HardwareSpec,
    *,
    scheme: str | None = None,
    max_pulses: int | None = None,
    devices: int = 20_000,
    seed: int = 0,
    targets_S: Sequence[float] | None = None,
) -> Characterisation:
    """Measure the distribution of achieved conductances for each state of a device.

    The devices and their windows vary as the spec says. None is stuck: training and chips draw stuck devices apart,
    with the shares of `[faults]`. Relaxation is in the table where `limit_retention` is on.

        table = hrat.characterise(hrat.load_spec("yao2020"), scheme="write_verify", max_pulses=20)
        model = hrat.prepare(network, table.spec, example)

    Args:
        spec: the hardware.
        scheme: `write_verify` or `open_loop`, in place of the spec's.
        max_pulses: most pulses for one device, in place of the spec's.
        devices: number of devices for each state; the tails of the table need some thousands.
        seed: seed of the differences between devices and of the pulses' variation.
        targets_S: other targets than the states, ascending, from the lowest state to the highest at least, S: a finer
            table, by which to place states.

    Returns:
        The table; `.spec` is the hardware with the table, its scheme and its pulse budget in it.

    Raises:
        HratError: a scheme that gives no pulses, or too few devices.
        SpecError: the spec lacks what the scheme needs.
    """
    changes = {"programming.scheme": scheme and scheme.replace("-", "_"), "programming.max_pulses": max_pulses}
    spec = spec.replace({key: value for key, value in changes.items() if value is not None})
    if spec.programming.scheme == "statistical":
        raise HratError(
            "characterise: the scheme 'statistical' draws from a table or a Gaussian and needs no other one; expected "
            "scheme='write_verify' or 'open_loop'"
        )
    if devices < FEWEST_DEVICES:
        raise HratError(f"characterise: expected at least {FEWEST_DEVICES} devices for each state, got {devices}")
    chosen_S = _states(spec) if targets_S is None else tuple(targets_S)
    asked_S = torch.tensor(chosen_S, dtype=torch.float64).unsqueeze(1).expand(-1, devices)
    done = SCHEMES[spec.programming.scheme](
        asked_S, _none_stuck(spec), torch.Generator().manual_seed(check_seed(seed)), None
    )
    assert done.pulses is not None
    figures = [_figures(target_S, done.g_S[i], done.pulses.of(i)) for i, target_S in enumerate(chosen_S)]
    table = spec.replace(
        {
            "programming.table_targets_S": chosen_S,
            "programming.table_S": tuple(state.quantiles_S for state in figures),
            "sources": {
                "programming.table_S": f"hrat.characterise: {spec.programming.scheme}, at most "
                f"{spec.programming.max_pulses} pulses, {devices} simulated devices a state, seed {seed}"
            },
        }
    )
    return Characterisation(spec=table, states=tuple(figures), devices=devices, seed=seed)


def _states(spec: HardwareSpec) -> tuple[float, ...]:
    device = spec.device
    if device.n_states is not None:
        return device.states_S
    top = STATES_OF_A_CONTINUUM - 1
    return tuple(device.g_min_S * ((top - i) / top) + device.g_max_S * (i / top) for i in range(top + 1))


def _none_stuck(spec: HardwareSpec) -> HardwareSpec:
    if not spec.faults.limit_faults:
        return spec
    whole = {f"faults.{share}": 0.0 for share in ("stuck_off", "stuck_on", "stuck_anywhere")}
    return spec.replace({**whole, "faults.limit_faults": spec.faults.window_spread_rel > 0})


def _figures(target_S: float, g_S: Tensor, pulses: PulseColumns) -> StateFigures:
    probabilities = torch.tensor(TABLE_PROBABILITIES, dtype=g_S.dtype)
    counts = pulses.pulses
    return StateFigures(
        target_S=target_S,
        mean_S=float(g_S.mean()),
        sigma_S=float(g_S.std(correction=0)),
        # Six digits are more than the devices of a table can tell, and keep its file readable.
        quantiles_S=tuple(float(f"{q:.6g}") for q in torch.quantile(g_S, probabilities).tolist()),
        budget_spent=float((pulses.status == Status.BUDGET_SPENT).double().mean()),
        mean_pulses=float(counts.double().mean()),
        most_pulses=int(counts.max()),
        mean_energy_J=float(pulses.energy_J.double().mean()),
    )
