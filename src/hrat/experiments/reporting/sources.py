"""Sources of a report as files: a finished run, or chips, with the run that they come from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hrat.artifacts import ProgrammedChip, RestrictionBudget, Verification
from hrat.errors import HratError
from hrat.experiments.reporting.findings import Say, nobody_asks, report_parts
from hrat.experiments.running import TEST_BATCH, Run, load_run
from hrat.mapping import deploy
from hrat.programming import program
from hrat.reports import MAX_TILES, ReportParts, write_report
from hrat.training import DataSplits, load_data, make_loader

__all__ = ["ReportSource", "WrittenReport", "read_report_source"]


@dataclass(frozen=True, kw_only=True)
class WrittenReport:
    """A report that was written: what it shows, and its files, the page first."""

    parts: ReportParts
    files: list[Path]


@dataclass(frozen=True, kw_only=True)
class ReportSource:
    """Sources of a report, read and checked to fit together."""

    path: Path
    """The run's folder, or the file of the chips."""
    folder: Path
    """Folder of the report."""
    chips: ProgrammedChip | None
    """Chips; None where they are to be programmed from the run."""
    run: Run | None
    data: str | None
    """Name of the data set, or a folder."""
    splits: DataSplits | None
    budget: RestrictionBudget | None = None
    """One that was made before, in place of a new one."""
    verification: Verification | None = None
    """One that was made before, in place of a new one."""

    def write(
        self,
        *,
        chips: int = 20,
        seed: int = 0,
        limit: int | None = None,
        budget_images: int = 2000,
        verify_images: int = 20,
        spice: bool = True,
        max_tiles: int = MAX_TILES,
        progress: Say | None = None,
    ) -> WrittenReport:
        """Program chips where there are none, find out what they do, and write the page.

        Args:
            chips: of a run: how many chips to program.
            seed: seed of a run: seed of the first chip; and that of the budget's first chip.
            limit: test images for the accuracy, the first ones; all by default.
            budget_images: training images for a new restriction budget; 0 leaves it out.
            verify_images: test images for a new comparison with the circuit; 0 leaves it out.
            spice: whether that goes down to SPICE.
            max_tiles: tiles whose conductances the page holds.
            progress: called as work goes on.

        Raises:
            HratError: the chips are not those of the run, or as `hrat.simulate`.
            OSError: the folder cannot be written, or the disk is full.
        """
        say = progress or nobody_asks
        self.folder.mkdir(parents=True, exist_ok=True)
        programmed = self.chips
        if programmed is None:
            assert self.run is not None
            say("programming", 0, 1)
            programmed = program(deploy(self.run.model), seed=seed, chips=chips)
        train = None
        if self.splits is not None and self.run is not None and budget_images:
            train = make_loader(self.splits.train.subset(min(budget_images, len(self.splits.train))), TEST_BATCH)
        parts = report_parts(
            programmed,
            None if self.splits is None else make_loader(self.splits.test, TEST_BATCH),
            model=None if self.run is None else self.run.model,
            train=train,
            title=f"{self._subject} on {programmed.deployment.spec.name}",
            limit=limit,
            budget=self.budget,
            verification=self.verification,
            verify_images=verify_images,
            spice=spice,
            seed=seed,
            accuracy_without_error=None if self.run is None else self.run.accuracy_without_error,
            training=[] if self.run is None else self.run.metrics(),
            facts=self._facts,
            save_in=self.folder,
            progress=say,
        )
        say("writing the page", 0, 1)
        return WrittenReport(parts=parts, files=write_report(parts, self.folder, max_tiles=max_tiles))

    @property
    def _subject(self) -> str:
        return self.run.recipe.name if self.chips is None and self.run is not None else self.path.stem

    @property
    def _facts(self) -> dict[str, str]:
        of_data = {} if not self.data else {"data": self.data}
        return {"from": self.path.name, **of_data, **({} if self.run is None else self.run.facts)}


def read_report_source(
    path: str | os.PathLike[str],
    folder: str | os.PathLike[str] | None = None,
    *,
    run: str | os.PathLike[str] | None = None,
    data: str | None = None,
    budget: str | os.PathLike[str] | None = None,
    verification: str | os.PathLike[str] | None = None,
    network: str | None = None,
) -> ReportSource:
    """Read what a report is made from, so that all that can be wrong with it is found before the work.

    Args:
        path: a finished run's folder, or a file of programmed chips.
        folder: where the report goes; `report` in the run's folder, or beside the chips with the suffix `.report`,
            unless given.
        run: of chips: the folder of the run that they come from, for the restriction budget.
        data: of chips: the data set to test on; that of their run unless given.
        budget: file of a restriction budget that was made before.
        verification: file of a verification that was made before.
        network: file and name of the run's network, where that is the user's own (`load_run`).

    Raises:
        HratError: `run` or `data` is given for a run that has its own.
        ArtifactError: a file is damaged, or the run is not finished.
        FileNotFoundError: there is no such file, or the folder holds no run.
    """
    path = Path(path)
    is_run = path.is_dir()
    if is_run and run is not None:
        raise HratError(f"--run is for chips, but {path} is a folder; expected a file that hrat program wrote")
    given_budget = None if budget is None else RestrictionBudget.load(budget)
    given_verification = None if verification is None else Verification.load(verification)
    of_run = path if is_run else run
    source = None if of_run is None else load_run(of_run, network=network)
    if is_run and source is not None and data not in (None, source.recipe.data):
        raise HratError(f"--data is for chips; the run in {path} is of {source.recipe.data}")
    name = data if data is not None or source is None else source.recipe.data
    splits = None if name is None else load_data(name)
    chips = None if is_run else ProgrammedChip.load(path)
    beside = path / "report" if is_run else path.with_suffix(".report")
    return ReportSource(
        path=path,
        folder=beside if not folder else Path(folder),
        chips=chips,
        run=source,
        data=name,
        splits=splits,
        budget=given_budget,
        verification=given_verification,
    )
