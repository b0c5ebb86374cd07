"""What a user sees of an exploration while it goes on: a bar, or lines elsewhere."""

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO, final

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from dpbench.explore.announce import Announce, Announcement, silent

SECONDS_BETWEEN_LINES: Final = 15.0
"""Where there is no terminal, a line at most this often within a stage."""

STAGE_WORDS: Final = {
    "train": "training",
    "explore": "exploring",
    "select": "selecting",
    "label": "labelling",
    "ingest": "ingesting",
    "assess": "assessing",
}
"""What a stage does, for those who watch."""

FIRST_MOMENTS: Final = 1.0
"""Seconds of a stage whose tasks do not tell how long the others take."""

FIRST_SHARE: Final = 0.02
"""And this share of the time since."""

OVER: Final = "over"
"""Stage of the last announcement of all."""


@contextmanager
def display_for(*, quiet: bool, stream: TextIO | None = None) -> Iterator[Announce]:
    """Choose: nothing if ``quiet``, a bar on a terminal, lines otherwise.

    Args:
        quiet: Whether nothing shall be drawn.
        stream: Takes it; None = stderr.

    Yields:
        What is to be told of every step.
    """
    if quiet:
        yield silent
        return
    console = Console(file=stream) if stream is not None else Console(stderr=True)
    if not console.is_terminal:
        yield Lines(stream)
        return
    bar = Bar(console)
    try:
        yield bar
    finally:
        bar.close()


def everyone(*announces: Announce) -> Announce:
    """Return what tells each of several, in their order."""

    def tell(announcement: Announcement) -> None:
        for announce in announces:
            announce(announcement)

    return tell


def title_of(announcement: Announcement) -> str:
    """Word where an exploration is, ``iteration 2 labelling`` for example."""
    if announcement.stage == OVER:
        return "exploration over"
    stage = STAGE_WORDS.get(announcement.stage, announcement.stage)
    if announcement.iteration is None:
        return f"start {stage}"
    return f"iteration {announcement.iteration} {stage}"


@final
class Pace:
    """How long the rest of a stage takes, by what was done of it so far.

    Tasks that an earlier session has finished come all at once at the begin and say
    nothing about the others, so those of the first moments are not counted.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the time from ``clock``, s."""
        self._clock = clock
        self._of: tuple[int | None, str] | None = None
        self._began = 0.0
        self._told: deque[tuple[float, int]] = deque()

    @property
    def seconds(self) -> float:
        """Since the stage began."""
        return self._clock() - self._began

    def follow(self, announcement: Announcement) -> bool:
        """Take note; tell whether another stage has begun with it."""
        of = (announcement.iteration, announcement.stage)
        is_new = of != self._of
        if is_new:
            self._of, self._began = of, self._clock()
            self._told.clear()
        self._told.append((self.seconds, announcement.done))
        first = FIRST_MOMENTS + FIRST_SHARE * self.seconds
        while len(self._told) > 1 and self._told[1][0] <= first:
            self._told.popleft()
        return is_new

    def seconds_left(self, announcement: Announcement) -> float | None:
        """Seconds that the rest takes; None where nothing tells."""
        since, done = self._told[0]
        made = announcement.done - done
        left = announcement.total - announcement.done
        if made <= 0 or left < 0:
            return None
        return (self.seconds - since) / made * left


@final
class Lines:
    """Prints a line at the begin and end of a stage, and now and then between."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        every: float = SECONDS_BETWEEN_LINES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Print to ``stream`` (stderr), at most every ``every`` seconds."""
        self._stream, self._every, self._clock = stream, every, clock
        self._pace = Pace(clock)
        self._said = -math.inf

    def __call__(self, announcement: Announcement) -> None:
        """Print, if it is time."""
        is_new = self._pace.follow(announcement)
        now = self._clock()
        if not (is_new or announcement.is_over or now - self._said >= self._every):
            return
        self._said = now
        parts = [title_of(announcement)]
        if announcement.total:
            parts.append(f"{announcement.done}/{announcement.total}")
        parts += [announcement.text] if announcement.text else []
        if announcement.is_over and announcement.stage != OVER:
            parts.append(f"done in {duration(self._pace.seconds)}")
        elif (left := self._pace.seconds_left(announcement)) is not None:
            parts.append(f"{duration(left)} left")
        print("  ".join(parts), file=self._stream or sys.stderr, flush=True)


@final
class Bar:
    """Draws one bar a stage; those that have ended stay above as lines."""

    def __init__(self, console: Console) -> None:
        """Draw on ``console``."""
        self._console = console
        self._pace = Pace()
        self._task: TaskID | None = None
        self._progress = Progress(
            TextColumn("{task.fields[title]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[text]}", markup=False),
            console=console,
            transient=True,
        )

    def __call__(self, announcement: Announcement) -> None:
        """Move the bar; begin another where a stage begins."""
        if self._pace.follow(announcement):
            self._begin(announcement)
        if self._task is None:
            return
        self._progress.update(
            self._task,
            completed=announcement.done,
            total=announcement.total or None,
            count=_count(announcement),
            left=self._left(announcement),
            text=announcement.text,
        )
        if announcement.is_over:
            self._end(announcement)

    def close(self) -> None:
        """Take the bar away; what has ended stays."""
        self._progress.stop()

    def _begin(self, announcement: Announcement) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(
            "",
            total=announcement.total or None,
            title=title_of(announcement),
            count=_count(announcement),
            left="",
            text=announcement.text,
        )
        self._progress.start()

    def _left(self, announcement: Announcement) -> str:
        left = self._pace.seconds_left(announcement)
        return "" if left is None else f"{duration(left)} left"

    def _end(self, announcement: Announcement) -> None:
        parts = [title_of(announcement), _count(announcement), announcement.text]
        if announcement.stage != OVER:
            parts.append(duration(self._pace.seconds))
        words = "  ".join(part for part in parts if part)
        self._console.print(words, highlight=False, markup=False)
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None


def duration(seconds: float) -> str:
    """Write a time as ``48 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def _count(announcement: Announcement) -> str:
    return f"{announcement.done}/{announcement.total}" if announcement.total else ""
