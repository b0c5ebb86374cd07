"""What a user sees of a run while it goes on: a bar on a terminal, lines elsewhere."""

import math
import sys
import time
from collections.abc import Callable
from typing import Protocol, TextIO, final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dpbench.train.history import CurveRow

SECONDS_BETWEEN_LINES = 15.0
"""Where there is no terminal, a line at most this often."""


class Reporter(Protocol):
    """Told by the loop how far it is."""

    def start(self, first: int, steps: int) -> None:
        """Steps ``first`` to ``steps`` follow."""

    def step(self, done: int, loss: float | None) -> None:
        """``done`` steps are made; the loss is None where it was not looked at."""

    def row(self, row: CurveRow) -> None:
        """A validation was made."""

    def note(self, text: str) -> None:
        """Something to know, in one line."""

    def close(self) -> None:
        """The loop has ended."""


@final
class Silent:
    """A ``Reporter`` that says nothing."""

    def start(self, first: int, steps: int) -> None:
        """Say nothing."""

    def step(self, done: int, loss: float | None) -> None:
        """Say nothing."""

    def row(self, row: CurveRow) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Say nothing."""


@final
class Lines:
    """A ``Reporter`` that prints a line now and then."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        every: float = SECONDS_BETWEEN_LINES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Print to ``stream`` (stderr), at most every ``every`` seconds."""
        self._stream = stream
        self._every, self._clock = every, clock
        self._first = self._steps = 0
        self._began = self._said = 0.0

    def start(self, first: int, steps: int) -> None:
        """Remember the range of steps."""
        self._first, self._steps = first, steps
        self._began, self._said = self._clock(), -math.inf

    def step(self, done: int, loss: float | None) -> None:
        """Nothing: lines come with validations."""

    def row(self, row: CurveRow) -> None:
        """Print the row, if the last one is long enough ago or it is the last."""
        now = self._clock()
        if now - self._said < self._every and row.step < self._steps:
            return
        self._said = now
        made = max(row.step - self._first, 1)
        left = (now - self._began) / made * (self._steps - row.step)
        self.note(f"step {row.step}/{self._steps}  {describe(row)}  {left:.0f} s left")

    def note(self, text: str) -> None:
        """Print a line."""
        print(text, file=self._stream or sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing to end."""


@final
class Bar:
    """A ``Reporter`` that draws a progress bar."""

    def __init__(self, console: Console) -> None:
        """Draw on ``console``."""
        self._console = console
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("<"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=console,
        )
        self._task: TaskID | None = None
        self._row = ""

    def start(self, first: int, steps: int) -> None:
        """Show the bar."""
        self._task = self._progress.add_task("", total=steps, completed=first)
        self._progress.start()

    def step(self, done: int, loss: float | None) -> None:
        """Move the bar."""
        if self._task is not None and loss is not None:
            text = f"loss {loss:.3g}  {self._row}"
            self._progress.update(self._task, completed=done, description=text)

    def row(self, row: CurveRow) -> None:
        """Show the newest errors beside the bar."""
        self._row = describe(row)
        if self._task is not None:
            self._progress.update(self._task, completed=row.step)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._progress.stop()


def describe(row: CurveRow) -> str:
    """Word the errors of a row: validation where there is one, else training."""
    has_validation = not math.isnan(row.rmse_f_validation) or not math.isnan(
        row.rmse_e_validation
    )
    part = "validation" if has_validation else "train"
    energy = getattr(row, f"rmse_e_{part}") * 1000
    force = getattr(row, f"rmse_f_{part}")
    label = "val" if has_validation else "train"
    return f"{label} E {energy:.3g} meV/atom  F {force:.3g} eV/Å"


def reporter_for(*, quiet: bool) -> Reporter:
    """Choose: nothing if ``quiet``, a bar on a terminal, lines otherwise."""
    if quiet:
        return Silent()
    console = Console(stderr=True)
    return Bar(console) if console.is_terminal else Lines()
