"""Metrics of a run: a CSV that is whole after every epoch, TensorBoard on request, and what a person sees."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from hrat.errors import MissingDependencyError
from hrat.files import path_within, write_atomic
from hrat.tables import csv_text

__all__ = ["Display", "MetricsLog", "track"]

T = TypeVar("T")

LINE_EVERY_S = 30.0
"""Seconds without a word after which there is a line where there is no terminal, s."""


class MetricsLog:
    """One row for each epoch."""

    def __init__(self, folder: str | os.PathLike[str] | None, *, tensorboard: bool = False) -> None:
        """Log to `folder/metrics.csv`, and to `folder/tensorboard`; to memory alone without a folder.

        Raises:
            MissingDependencyError: TensorBoard is asked for but not installed.
        """
        self.rows: list[dict[str, float]] = []
        self._path = None if folder is None else path_within(folder, "metrics.csv")
        self._writer: Any = None
        if tensorboard and folder is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise MissingDependencyError(
                    'TensorBoard logs were asked for, but it is not installed; pip install "hrat[tensorboard]"'
                ) from error
            self._writer = SummaryWriter(str(Path(folder) / "tensorboard"))

    def add(self, row: dict[str, float]) -> None:
        """Append an epoch and write the file anew."""
        self.rows.append(row)
        if self._path is not None:
            rows = ([earlier.get(name) for name in row] for earlier in self.rows)
            write_atomic(self._path, csv_text(list(row), rows))
        if self._writer is not None:
            for key, value in row.items():
                self._writer.add_scalar(key, value, int(row["epoch"]))
            self._writer.flush()

    def close(self) -> None:
        """Close TensorBoard's files."""
        if self._writer is not None:
            self._writer.close()


class Display:
    """A progress bar with the time left on a terminal; elsewhere a line an epoch, and one at least every half minute.

    Nothing if not wanted.
    """

    def __init__(self, title: str, total: int, *, wanted: bool = True) -> None:
        self._console = Console(stderr=True)
        self._wanted = wanted
        self._total = total
        self._said_at = time.monotonic()
        self._first: tuple[float, int] | None = None
        """When the first step was seen, and which it was: a run that goes on begins in its middle."""
        self._bar: Progress | None = None
        if wanted and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[metrics]}"),
                console=self._console,
            )
            self._task = self._bar.add_task(title, total=total, metrics="")
        self._title = title

    def __enter__(self) -> Display:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def expect(self, total: int) -> None:
        """Set the total number of steps, unknown before."""
        self._total = total
        if self._bar is not None:
            self._bar.update(self._task, total=total)

    def step(self, done: int, metrics: str) -> None:
        """`done` steps are done; `metrics` are the latest figures."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, metrics=metrics)
            return
        now = time.monotonic()
        self._first = self._first or (now, done)
        if self._wanted and now - self._said_at >= LINE_EVERY_S:
            self._say("  ".join(filter(None, (f"step {done}/{self._total}", metrics, self._left(now, done)))))

    def epoch(self, row: dict[str, float], epochs: int) -> None:
        """An epoch has ended."""
        if self._wanted and self._bar is None:
            figures = "  ".join(f"{key} {value:.4g}" for key, value in row.items() if key != "epoch")
            self._say(f"epoch {int(row['epoch'])}/{epochs}  {figures}")

    def _say(self, text: str) -> None:
        self._said_at = time.monotonic()
        self._console.print(f"{self._title}: {text}", highlight=False, markup=False, soft_wrap=True)

    def _left(self, now: float, done: int) -> str:
        """The time left at the pace since the first step; nothing before the second one."""
        assert self._first is not None
        began_at, first = self._first
        if done <= first:
            return ""
        return f"{timedelta(seconds=round((now - began_at) / (done - first) * (self._total - done)))} left"


def track(items: Iterable[T], title: str, total: int, *, wanted: bool = True) -> Iterator[T]:
    """Pass `items` through behind a progress bar."""
    with Display(title, total, wanted=wanted) as display:
        for done, item in enumerate(items, 1):
            yield item
            display.step(done, "")


@contextmanager
def closing(log: MetricsLog) -> Iterator[MetricsLog]:
    """Close the log whatever happens."""
    try:
        yield log
    finally:
        log.close()
