"""Plain data that the stages hand to each other, and its files."""

from __future__ import annotations

import os

from hrat.artifacts.budget import BudgetLayer, BudgetRow, BudgetStep, RestrictionBudget
from hrat.artifacts.characterisation import Characterisation, StateFigures
from hrat.artifacts.chip import ProgrammedChip, ProgrammedLayer
from hrat.artifacts.comparison import Comparison, ComparisonRow
from hrat.artifacts.decode import STRICT, Count, Part, Positive, decoded, parse_json
from hrat.artifacts.deployment import DeployedLayer, Deployment
from hrat.artifacts.estimate import Assumption, Estimate, LayerEstimate
from hrat.artifacts.faults import FaultMap, LayerFaults
from hrat.artifacts.measured import import_csv
from hrat.artifacts.pulse_log import PulseColumns, PulseTotals, Status
from hrat.artifacts.results import ResultFigures, SimulationResult
from hrat.artifacts.run_facts import RunFacts
from hrat.artifacts.storage import SCHEMA_VERSION, digest_of, kind_of, read_json
from hrat.artifacts.sweep_table import SweepTable
from hrat.artifacts.tables import export_csv
from hrat.artifacts.verification import Depth, LayerDifference, Verification, volts

__all__ = [
    "SCHEMA_VERSION",
    "STRICT",
    "Assumption",
    "BudgetLayer",
    "BudgetRow",
    "BudgetStep",
    "Characterisation",
    "Comparison",
    "ComparisonRow",
    "Count",
    "DeployedLayer",
    "Deployment",
    "Depth",
    "Estimate",
    "FaultMap",
    "LayerDifference",
    "LayerEstimate",
    "LayerFaults",
    "Part",
    "Positive",
    "ProgrammedChip",
    "ProgrammedLayer",
    "PulseColumns",
    "PulseTotals",
    "RestrictionBudget",
    "ResultFigures",
    "RunFacts",
    "SimulationResult",
    "StateFigures",
    "Status",
    "SweepTable",
    "Verification",
    "decoded",
    "digest_of",
    "export_csv",
    "import_csv",
    "load",
    "parse_json",
    "read_json",
    "volts",
]


def load(path: str | os.PathLike[str]) -> Deployment | ProgrammedChip:
    """Read a saved deployment or programmed chip, whichever the file holds.

    Raises:
        FileNotFoundError: nothing stands at `path`.
        ArtifactError: the file is damaged, foreign, or of another version.
    """
    return Deployment.load(path) if kind_of(path) == Deployment.KIND else ProgrammedChip.load(path)
