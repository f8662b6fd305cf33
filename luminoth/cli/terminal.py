"""What the commands say on standard error while they work: lines and progress bars."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

_QUIET_INTERVAL_SECONDS = 15.0


def say(message: str) -> None:
    """Writes one line to standard error; standard output belongs to results."""
    click.echo(_named(message), err=True)


def _named(message: str) -> str:
    """With the addresses that people know in place of folders that copies of buckets are in."""
    from luminoth.storage import with_addresses

    return with_addresses(message)


class Progress:
    """Counts items done. On a terminal it is a bar with rate and time left, elsewhere a line now and then."""

    def __init__(self, label: str, total: int | None, unit: str, done: float = 0) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._started = self._last_line = time.monotonic()
        self._done = self._done_before = done
        self._bar = None
        if sys.stderr.isatty():
            self._bar, self._task = _make_bar(label, total, unit, done)
            self._bar.start()

    def advance(self, count: float = 1, note: str = "") -> None:
        """Counts `count` more items; `note` stands behind the bar (losses, a file's name)."""
        self._done += count
        rate = (self._done - self._done_before) / max(time.monotonic() - self._started, 1e-9)
        if self._bar is not None:
            self._bar.update(self._task, advance=count, rate=f"{rate:.1f} {self._unit}/s", note=note)
        elif time.monotonic() - self._last_line >= _QUIET_INTERVAL_SECONDS:
            self._last_line = time.monotonic()
            of_total = f"/{self._total}" if self._total else ""
            line = f"{self._label}: {self._done:.0f}{of_total} {self._unit}, {rate:.1f} {self._unit}/s {note}"
            say(line.rstrip())

    def finish(self) -> None:
        """What is done is all there is: for a total that was an estimate."""
        if self._bar is not None:
            self._bar.update(self._task, total=self._done)

    def say(self, message: str) -> None:
        """Writes a line above the bar."""
        if self._bar is not None:
            self._bar.console.print(_named(message), highlight=False, markup=False)
        else:
            say(message)

    def close(self) -> None:
        """Leaves the bar as it is and returns the terminal."""
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def progress(label: str, total: int | None = None, unit: str = "images") -> Iterator[Progress]:
    """A `Progress` for a block: `with progress("Predicting", total=12) as bar: bar.advance()`."""
    bar = Progress(label, total, unit)
    try:
        yield bar
    finally:
        bar.close()


def _make_bar(label: str, total: int | None, unit: str, done: float):
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress
    from rich.table import Column

    # Bar and note share what the numbers leave; a long note is cut, and never takes their place.
    note = Column(ratio=2, no_wrap=True, overflow="ellipsis")
    bar = RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        TaskProgressColumn(),
        TextColumn("{task.completed:.0f}" + ("/{task.total:.0f}" if total else "") + f" {unit}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", markup=False, table_column=note),
        console=Console(stderr=True),
        refresh_per_second=5,
        expand=True,
        # Rich would send results meant for standard output to standard error, where the bar is: right only
        # when both are the same terminal.
        redirect_stdout=sys.stdout.isatty(),
    )
    return bar, bar.add_task(label, total=total, completed=done, rate="", note="")
