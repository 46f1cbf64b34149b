"""The section `programming`: how a device is brought to its target, and how near to it training takes it to end."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from hrat.errors import SpecError
from hrat.spec.base import Count, NotNegative, Part, Positive, Table, Values

__all__ = ["TABLE_PROBABILITIES", "Programming", "SchemeName"]

SchemeName = Literal["statistical", "open_loop", "write_verify"]

_TAIL = (0.0, 0.0005, 0.001, 0.002, 0.005, 0.01)
TABLE_PROBABILITIES = (*_TAIL, *(step / 50 for step in range(1, 50)), *(1.0 - p for p in reversed(_TAIL)))
"""Probabilities at which a row of `table_S` samples the distribution: dense in its tails, where failures lie."""


class Programming(Part):
    """How a conductance is programmed to its target, and how near to it training assumes that it ends."""

    clears: ClassVar[Mapping[str, tuple[str, ...]]] = {
        # The references too: coefficients mean nothing beside the reference of other ones.
        "sigma_rel": ("sigma_poly_S", "sigma_poly_ref_S", "table_targets_S", "table_S"),
        "sigma_poly_S": ("sigma_rel", "sigma_poly_ref_S", "table_targets_S", "table_S"),
        "table_S": ("sigma_rel", "sigma_poly_S", "sigma_poly_ref_S", "table_targets_S"),
        "tolerance_rel": ("tolerance_S",),
        "tolerance_S": ("tolerance_rel",),
    }

    sigma_rel: Annotated[float, Field(ge=0, le=1)] | None = 0.035
    """Standard deviation of one device's programming error, relative to g_max_S - g_min_S; excludes sigma_poly_S."""
    sigma_poly_S: Values | None = None
    """State-dependent standard deviation, sigma(G) = sum_k c_k (G / ref)^k: c_0, c_1, ... in S; excludes sigma_rel."""
    sigma_poly_ref_S: Positive | None = None
    """The reference conductance of sigma_poly_S, S."""
    table_targets_S: Values | None = None
    """Target conductances of the rows of table_S, ascending, S."""
    table_S: Table | None = None
    """What devices end at, a row of ascending quantiles for each target, S; excludes both sigmas. See characterise."""
    aim: Literal["target", "mean"] = "target"
    """target: programming asks for the target; mean: for what, by table_S, ends at the target on average."""
    limit_error: bool = True
    """Restriction: conductances miss their targets, by the Gaussian (cut off at zero conductance) or by the table."""
    error_age_s: NotNegative = 0.0
    """Time after programming at which that error holds, s: relaxation until then is in it; ageing adds the rest."""
    scheme: SchemeName = "statistical"
    """statistical: draw the error above; open_loop: pulses without a look; write_verify: pulse and read in turns."""
    max_pulses: Annotated[int, Field(ge=0)] = 500
    """Pulses that may be spent on one device."""
    tolerance_rel: NotNegative | None = 0.02
    """write_verify: accepted distance from the target, relative to g_max_S - g_min_S; excludes tolerance_S."""
    tolerance_S: NotNegative | None = None
    """write_verify: accepted distance from the target, S; excludes tolerance_rel."""
    reads_per_verify: Count = 1
    """write_verify: readings that are averaged before it is decided on a pulse."""
    set_step_V: NotNegative = 0.0
    """write_verify: by how much a set pulse is larger than the one before, until the direction changes, V."""
    reset_step_V: NotNegative = 0.0
    """write_verify: by how much a reset pulse is larger than the one before, until the direction changes, V."""
    v_max_V: Positive | None = None
    """Largest amplitude of incremental pulses, of either sign, V; none: no limit."""
    passes: Count = 1
    """write_verify: how often all devices are gone through, each time after a wait in which they relax."""
    wait_s: NotNegative = 1.0
    """write_verify: the wait between two passes, s."""
    start: Literal["lowest", "highest", "random"] = "lowest"
    """Where devices are when programming begins: an end of the window, or anywhere in it."""
    read_s: NotNegative = 100e-9
    """Duration of one reading, s."""

    @model_validator(mode="after")
    def _check(self) -> Programming:
        self._check_error()
        if self.table_S is not None:
            self._check_table(self.table_S)
        if self.tolerance_rel is None and self.tolerance_S is None and self.scheme == "write_verify":
            raise SpecError("programming: write_verify needs tolerance_rel or tolerance_S; give one of them")
        if self.scheme == "open_loop" and self.start == "random":
            raise SpecError(
                "programming: open_loop counts pulses from a known start; expected start 'lowest' or 'highest', got "
                "'random'"
            )
        if self.scheme == "open_loop" and (self.set_step_V > 0 or self.reset_step_V > 0):
            raise SpecError("programming: open_loop has equal pulses; set set_step_V and reset_step_V to 0")
        if self.tolerance_rel is not None and self.tolerance_S is not None:
            raise SpecError("programming: expected tolerance_rel or tolerance_S, got both; remove one of them")
        return self

    def _check_error(self) -> None:
        given = [name for name in ("sigma_rel", "sigma_poly_S", "table_S") if getattr(self, name) is not None]
        if len(given) > 1:
            raise SpecError(
                f"programming: expected one of sigma_rel, sigma_poly_S and table_S, got {' and '.join(given)} "
                "(sigma_rel or sigma_poly_S, got both, or a table beside them); remove all but one"
            )
        for what, companion, meaning in (
            (
                "sigma_poly_S",
                "sigma_poly_ref_S",
                "the conductance (S) by which G is divided; give the reference that was used in the fit",
            ),
            ("table_S", "table_targets_S", "the target (S) of each of its rows; give them"),
        ):
            if getattr(self, what) is not None and getattr(self, companion) is None:
                raise SpecError(f"programming: {what} is given without {companion}, {meaning}")
            if getattr(self, what) is None and getattr(self, companion) is not None:
                raise SpecError(f"programming: {companion} has no effect without {what}; give that too, or remove it")
        if self.sigma_poly_S is not None and not self.sigma_poly_S:
            raise SpecError("programming.sigma_poly_S: expected at least one coefficient, got an empty list")
        if self.aim == "mean" and self.table_S is None:
            raise SpecError(
                "programming: aim = 'mean' has no effect without table_S, which says where devices end; give the table "
                "too (see characterise), or aim at the target"
            )
        if self.limit_error and not given:
            raise SpecError(
                "programming: limit_error is on, but none of sigma_rel, sigma_poly_S and table_S is given; "
                "give one of them, or set limit_error to false"
            )

    def _check_table(self, table_S: tuple[tuple[float, ...], ...]) -> None:
        targets = self.table_targets_S or ()
        if len(targets) != len(table_S) or len(targets) < 2:
            raise SpecError(
                f"programming.table_S: expected a row for each of at least 2 targets, got {len(table_S)} rows for "
                f"{len(targets)} targets"
            )
        if any(upper <= lower for lower, upper in pairwise(targets)):
            raise SpecError("programming.table_targets_S: expected ascending targets; sort the rows by target")
        for target, row in zip(targets, table_S, strict=True):
            if len(row) != len(TABLE_PROBABILITIES):
                raise SpecError(
                    f"programming.table_S: expected {len(TABLE_PROBABILITIES)} quantiles in each row (see "
                    f"hrat.spec.programming.TABLE_PROBABILITIES), got {len(row)} for the target {target:g} S"
                )
            if row[0] < 0 or any(upper < lower for lower, upper in pairwise(row)):
                raise SpecError(
                    f"programming.table_S: expected ascending conductances from 0 S up, got others for the target "
                    f"{target:g} S"
                )
