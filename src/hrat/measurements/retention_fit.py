"""From retention records to relaxation, decay or drift (`hrat.physics.retention`).

The first reading of a device is taken as its programmed state G. Then, with t the time at the reference temperature:

1. Each device's slope in ln t is found, and the mean slope with its error. If that differs from zero, it is a decay,
   the same for all conductances (`relax_shift_S`), or a drift, in proportion to the conductance (`drift_nu_mean`):
   whichever explains the slopes better.
2. With drift, the exponents' spread over devices is a random effect (`drift_nu_sigma`).
3. Without, what is left around the decay is relaxation: at some times a spread that depends on the state
   (`relax_sigma_S`), with the noise of both readings taken off.
4. Several temperatures: a decay or drift that runs ahead by ln A at another temperature gives the activation energy,
   ln A = E_a / k (1 / T_ref - 1 / T). A spread alone does not tell it.

Limits: relaxation beside drift is not fitted; random telegraph noise counts as relaxation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.constants import Boltzmann, elementary_charge

from hrat.errors import DataError
from hrat.measurements.cleaning import Cleaning
from hrat.measurements.reading import Floats
from hrat.measurements.spread_fit import fit_spreads
from hrat.measurements.statistics import Parameter, spread_between, sums_by
from hrat.measurements.sweeps import Ints

__all__ = ["RetentionFit", "fit_retention"]

BOLTZMANN_EV_K = Boltzmann / elementary_charge
FEWEST_DEVICES = 10
MOST_TIMES = 6
SIGNIFICANT = 3.0
"""Standard errors by which a mean slope must differ from zero."""


@dataclass
class RetentionFit:
    """What the records say, and the data as it is drawn."""

    parameters: list[Parameter] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    poor: list[str] = field(default_factory=list)
    times_s: tuple[float, ...] = ()
    """Times at which the spread was found, s."""
    mean_S: tuple[float, ...] = ()
    """Mean change since programming at these times, S."""
    spread_S: tuple[float, ...] = ()
    """Its standard deviation over devices, noise of readings and all, S."""


@dataclass(frozen=True)
class _Records:
    """Readings after the first one of each device; each array `(n,)`."""

    device: Ints
    start_S: Floats
    """The device's first reading, S."""
    t_s: Floats
    g_S: Floats
    inverse_K: Floats
    """1 / T_ref - 1 / T."""
    n_devices: int


def fit_retention(
    columns: dict[str, Floats], report: Cleaning, window_S: tuple[float, float], read_noise_rel: float
) -> RetentionFit:
    """Fit the change of conductances with time.

    Args:
        columns: cleaned rows of a retention file.
        report: is told what was put in order or left out.
        window_S: the device's window, S.
        read_noise_rel: noise of one reading, which is in every spread; 0: unknown.
    """
    fit = RetentionFit()
    reference_K = _reference_K(columns)
    records = _records(columns, report, reference_K)
    if records.n_devices < FEWEST_DEVICES:
        fit.poor.append(
            f"retention: {records.n_devices} devices were read more than once; a spread needs at least {FEWEST_DEVICES}"
        )
        return fit
    basis = f"retention, {records.n_devices:,} devices"
    if reference_K is not None:
        fit.parameters += [
            Parameter(f"retention.{name}_K", reference_K, 0.0, "K", "the most frequent one of the retention records")
            for name in ("reference", "temperature")
        ]
    drift = _trend(fit, records, basis, window_S)
    if drift is None:
        shift_S = next((float(p.value) for p in fit.parameters if p.field.endswith("shift_S")), 0.0)  # type: ignore[arg-type]
        energy_eV = next((float(p.value) for p in fit.parameters if p.field.endswith("activation_eV")), 0.0)  # type: ignore[arg-type]
        _relaxation(fit, records, basis, window_S, read_noise_rel, shift_S, energy_eV)
    return fit


def _reference_K(columns: dict[str, Floats]) -> float | None:
    if "temperature" not in columns:
        return None
    found, counts = np.unique(np.round(columns["temperature"], 1), return_counts=True)
    return float(found[counts.argmax()])


def _records(columns: dict[str, Floats], report: Cleaning, reference_K: float | None) -> _Records:
    device, t_s, g_S = columns["device"].astype(np.int64), columns["time"], columns["conductance"]
    temperature = columns.get("temperature", np.full(len(g_S), reference_K or 1.0))
    if (t_s < 0).any():
        keep = t_s >= 0
        report.drop("the time is negative", int((~keep).sum()))
        device, t_s, g_S, temperature = device[keep], t_s[keep], g_S[keep], temperature[keep]
    # A device that is kept at two temperatures, one after the other, would be two experiments: it counts as two.
    _, kelvin = np.unique(np.round(temperature, 1), return_inverse=True)
    device = device * (int(kelvin.max(initial=0)) + 1) + kelvin
    if ((np.diff(t_s) < 0) & (np.diff(device) == 0)).any():
        report.notes.append("times do not always ascend; the rows of each device were sorted by time")
    order = np.lexsort((t_s, device))
    device, t_s, g_S, temperature = device[order], t_s[order], g_S[order], temperature[order]
    same = np.concatenate([[False], (np.diff(device) == 0) & (np.diff(t_s) == 0)])
    if same.any():
        report.notes.append(f"{int(same.sum()):,} rows repeat the time of a device; the mean was taken")
        group = np.cumsum(~same) - 1
        g_S = sums_by(group, g_S) / sums_by(group)
        device, t_s, temperature = device[~same], t_s[~same], temperature[~same]
    first = np.concatenate([[True], np.diff(device) != 0])
    start = np.flatnonzero(first)[np.cumsum(first) - 1]
    later = ~first
    lonely = int((sums_by(np.cumsum(first) - 1) == 1).sum())
    report.drop("the device was read only once", lonely)
    if not later.any():
        raise DataError(f"{report.file}: every device was read only once; expected readings at several times")
    if (t_s[first] > 0).mean() > 0.5:
        report.notes.append(
            f"the first readings are {np.median(t_s[first]):.3g} s after programming; what happened before is unknown"
        )
    _, numbered = np.unique(device[later], return_inverse=True)
    inverse_K = 1 / (reference_K or 1.0) - 1 / temperature[later] if reference_K else np.zeros(int(later.sum()))
    return _Records(
        numbered.astype(np.int64), g_S[start][later], t_s[later], g_S[later], inverse_K, int(numbered.max()) + 1
    )


# ---- decay and drift -------------------------------------------------------------------------------------------------


def _trend(fit: RetentionFit, records: _Records, basis: str, window_S: tuple[float, float]) -> bool | None:
    """Decay or drift, whichever it is; True for drift, None where there is no more than decay."""
    counts = records.t_s >= 1.0
    if np.unique(np.round(np.log(records.t_s[counts]), 2)).size < 2:
        fit.notes.append("retention: readings at one time only (above 1 s), so that no decay or drift can be told")
        return None
    device, n = records.device[counts], records.n_devices
    log_t = np.log(records.t_s[counts])
    change = (records.g_S - records.start_S)[counts]
    rows = sums_by(device, None, n)
    # Slope through the programmed state, which holds until 1 s.
    square = sums_by(device, log_t**2, n)
    usable = square > 0
    slope = sums_by(device, log_t * change, n)[usable] / square[usable]
    start = (sums_by(device, records.start_S[counts], n) / np.maximum(rows, 1))[usable]
    mean, error = float(slope.mean()), float(slope.std(ddof=1) / math.sqrt(len(slope)))
    if abs(mean) < SIGNIFICANT * error:
        fit.notes.append(
            f"retention: no decay or drift ({mean * 1e6:+.2g} +- {error * 1e6:.2g} uS each time that ln t grows by one)"
        )
        return None
    if _proportional(slope, start):
        return _drift(fit, records, basis, window_S)
    regressors = [log_t]
    if np.ptp(records.inverse_K[counts]) > 0:
        regressors.append(records.inverse_K[counts])
    found, covariance = _clustered_regression(np.stack(regressors, axis=1), change, device)
    fit.parameters.append(
        Parameter("retention.relax_shift_S", float(found[0]), float(covariance[0, 0] ** 0.5), "S", basis)
    )
    if len(found) == 2:
        _activation(fit, found, covariance, basis)
    return None


def _proportional(slope: Floats, start: Floats) -> bool:
    """Whether slopes go with the conductance rather than being alike for all."""
    scale = 1 / np.maximum(start, start.max() * 1e-3)
    # Errors of slopes may grow with the conductance or not: each hypothesis is judged under the weights of either.
    ratios = []
    for weight in (np.ones_like(start), scale**2):
        alike = (weight * slope).sum() / weight.sum()
        along = (weight * slope * start).sum() / (weight * start**2).sum()
        ratios.append((weight * (slope - alike) ** 2).sum() / (weight * (slope - along * start) ** 2).sum())
    return float(np.prod(ratios)) > 1.0


def _drift(fit: RetentionFit, records: _Records, basis: str, window_S: tuple[float, float]) -> bool:
    """Exponents of single devices, their mean along ln G, and their spread."""
    t0_s = float(records.t_s[records.t_s > 0].min())
    inner = records.t_s >= t0_s
    device, log_t = records.device[inner], np.log(records.t_s[inner] / t0_s)
    log_g = np.log(records.g_S[inner])
    n = records.n_devices
    count = np.maximum(sums_by(device, None, n), 1)
    centred_t = log_t - (sums_by(device, log_t, n) / count)[device]
    centred_g = log_g - (sums_by(device, log_g, n) / count)[device]
    square = sums_by(device, centred_t**2, n)
    good = square > 0
    nu = -sums_by(device, centred_t * centred_g, n)[good] / square[good]
    residual = (
        centred_g + sums_by(device, centred_t * -centred_g, n)[device] / np.maximum(square[device], 1e-12) * centred_t
    )
    degrees = max(len(device) - n - int(good.sum()), 1)
    error = math.sqrt(float((residual**2).sum()) / degrees) / np.sqrt(square[good])
    start = (sums_by(records.device, records.start_S, n) / sums_by(records.device, None, n))[good]
    x = np.log(start / window_S[1])
    found, covariance = _clustered_regression(np.stack([np.ones_like(x), x], axis=1), nu, np.arange(len(nu)))
    if abs(found[1]) < SIGNIFICANT * covariance[1, 1] ** 0.5:
        found, covariance = _clustered_regression(np.ones((len(nu), 1)), nu, np.arange(len(nu)))
        found, covariance = np.append(found, 0.0), np.pad(covariance, (0, 1))
    line = tuple(float(v) for v in found)
    spread, spread_error, _ = spread_between([(nu - line[0] - line[1] * x, error)])
    errors = (float(covariance[0, 0] ** 0.5), float(covariance[1, 1] ** 0.5))
    fit.parameters += [
        Parameter("retention.drift_nu_mean", (line[0], line[1]), errors, "", basis),
        Parameter("retention.drift_nu_sigma", (spread, 0.0), (spread_error, 0.0), "", basis),
        Parameter("retention.drift_ref_S", window_S[1], 0.0, "S", "the upper end of the fitted window"),
        Parameter("retention.drift_t0_s", t0_s, 0.0, "s", "the first reading after programming"),
    ]
    fit.notes.append("retention: conductances drift by a power of time; relaxation beside drift is not fitted")
    if np.ptp(records.inverse_K) > 0:
        ahead = np.stack([np.log(records.t_s[inner] / t0_s), records.inverse_K[inner]], axis=1)
        both, both_covariance = _clustered_regression(
            ahead, np.log(records.start_S[inner] / records.g_S[inner]), device
        )
        _activation(fit, both, both_covariance, basis)
    times = np.unique(records.t_s)
    relative = records.g_S / records.start_S - 1
    fit.times_s, fit.mean_S, fit.spread_S = _summary(times, records.t_s, relative * float(start.mean()))
    return True


def _activation(fit: RetentionFit, found: Floats, covariance: Floats, basis: str) -> None:
    """E_a from a slope in ln t and one in 1 / T_ref - 1 / T, whose ratio is E_a / k."""
    ratio = float(found[1] / found[0])
    gradient = np.array([-ratio, 1.0]) / found[0]
    error = math.sqrt(float(gradient @ covariance @ gradient)) * BOLTZMANN_EV_K
    energy = ratio * BOLTZMANN_EV_K
    if energy < -2 * error:
        fit.poor.append(f"retention: heat slows the change down (activation energy {energy:.2g} +- {error:.2g} eV)")
    elif energy < 2 * error:
        fit.notes.append(f"retention: no effect of temperature (activation energy {energy:.2g} +- {error:.2g} eV)")
    else:
        fit.parameters.append(Parameter("retention.activation_eV", energy, error, "eV", basis))


def _clustered_regression(regressors: Floats, values: Floats, cluster: Ints) -> tuple[Floats, Floats]:
    """Least squares, and the covariance when the errors of a cluster may go together."""
    found: Floats = np.asarray(np.linalg.lstsq(regressors, values, rcond=None)[0], dtype=np.float64)
    scores = regressors * (values - regressors @ found)[:, None]
    by_cluster = np.stack([sums_by(cluster, column) for column in scores.T])
    n = max(int((sums_by(cluster) > 0).sum()), 2)
    bread = np.linalg.pinv(regressors.T @ regressors)
    return found, np.asarray(bread @ (by_cluster @ by_cluster.T) @ bread * (n / (n - 1)))


# ---- relaxation ------------------------------------------------------------------------------------------------------


def _relaxation(
    fit: RetentionFit,
    records: _Records,
    basis: str,
    window_S: tuple[float, float],
    read_noise_rel: float,
    shift_S: float,
    energy_eV: float,
) -> None:
    """The spread around the decay, at some times."""
    ahead = np.maximum(records.t_s * np.exp(energy_eV / BOLTZMANN_EV_K * records.inverse_K), 1e-300)
    at_reference = np.isclose(records.inverse_K, 0.0, atol=1e-7)
    left = records.g_S - records.start_S - shift_S * np.log(np.maximum(ahead, 1.0))
    noise = read_noise_rel**2 * (records.start_S**2 + records.g_S**2)
    usable = at_reference & (records.t_s > 0)
    if not usable.any():
        return
    edges = _time_edges(records.t_s[usable])
    part = np.searchsorted(edges, records.t_s, side="right")
    times, sets = [], []
    for k in np.unique(part[usable]):
        inside = usable & (part == k)
        if inside.sum() >= FEWEST_DEVICES:
            times.append(float(np.exp(np.log(records.t_s[inside]).mean())))
            sets.append((records.start_S[inside], left[inside], noise[inside]))
    fit.times_s = tuple(times)
    fit.mean_S = tuple(
        float((r_S.mean()) + shift_S * math.log(max(t, 1.0))) for t, (_, r_S, _) in zip(times, sets, strict=True)
    )
    fit.spread_S = tuple(float(r_S.std()) for _, r_S, _ in sets)
    if not sets:
        fit.poor.append(f"retention: fewer than {FEWEST_DEVICES} devices at every time; the spread cannot be told")
        return
    found = fit_spreads(sets, window_S, window_S[1])
    if found is None:
        fit.notes.append("retention: devices wander no further than the noise of readings; no relaxation")
        return
    for t_s, polynomial in zip(times, found, strict=True):
        if polynomial.middle_error_S > 0.5 * polynomial.middle_S:
            fit.poor.append(
                f"retention: the spread after {t_s:.3g} s is {polynomial.middle_S * 1e6:.2g} +- "
                f"{polynomial.middle_error_S * 1e6:.2g} uS in the middle of the window; more devices are needed"
            )
    if read_noise_rel == 0:
        fit.notes.append("retention: the noise of readings is unknown, and is in the relaxation")
    fit.parameters += [
        Parameter("retention.relax_times_s", tuple(times), (0.0,) * len(times), "s", basis),
        Parameter(
            "retention.relax_sigma_S", tuple(p.coefficients_S for p in found), tuple(p.errors_S for p in found), "S",
            basis,
        ),
        Parameter("retention.relax_ref_S", window_S[1], 0.0, "S", "the upper end of the fitted window"),
    ]  # fmt: skip


def _time_edges(t_s: Floats) -> Floats:
    """Times that part the readings into at most MOST_TIMES groups: between nominal times, or evenly in ln t."""
    log_t = np.sort(np.log(t_s))
    gaps = np.diff(log_t)
    wide = np.flatnonzero(gaps > 0.2)
    if len(wide) < MOST_TIMES:
        return np.asarray(np.exp((log_t[wide] + log_t[wide + 1]) / 2))
    return np.asarray(np.exp(np.linspace(log_t[0], log_t[-1], MOST_TIMES + 1)[1:-1]))


def _summary(
    times: Floats, t_s: Floats, change_S: Floats
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    chosen = times[times > 0]
    chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, min(len(chosen), 12)).round().astype(int))]
    parts = [(float(t), change_S[t_s == t]) for t in chosen]
    kept = [(t, part) for t, part in parts if len(part) >= 3]
    return (
        tuple(t for t, _ in kept),
        tuple(float(part.mean()) for _, part in kept),
        tuple(float(part.std()) for _, part in kept),
    )
