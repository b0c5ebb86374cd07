"""Keeping the page of an exploration up to date while it runs."""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, final

from dpbench.errors import WorkspaceError
from dpbench.explore.announce import Announcement
from dpbench.explore.progress import OVER
from dpbench.explore.report import write_report
from dpbench.explore.report.collect import Known

SECONDS_BETWEEN_PAGES: Final = 15.0
"""Within a stage the page is written at most this often."""

NOT_WRITTEN: Final = "the page of the exploration is not written: %s"

logger = logging.getLogger(__name__)


def refresh(root: Path) -> None:
    """Write the page of an exploration that nothing works on, however that ended.

    A page that cannot be written is a warning: others may read a workspace, too.
    """
    try:
        write_report(root)
    except WorkspaceError as error:
        logger.warning(NOT_WRITTEN, error)


@final
class LiveReport:
    """Told of every step, writes the page; a page that fails never ends the loop."""

    def __init__(
        self,
        root: Path,
        *,
        every: float = SECONDS_BETWEEN_PAGES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Report on the exploration of folder ``root``."""
        self._root, self._every, self._clock = root, every, clock
        self._stage: tuple[int | None, str] | None = None
        self._written = -math.inf
        self._has_failed = False
        self._known: Known = {}

    def __call__(self, announcement: Announcement) -> None:
        """Write the page where a stage begins or ends, and now and then between."""
        stage = (announcement.iteration, announcement.stage)
        is_edge = announcement.is_over or stage != self._stage
        self._stage = stage
        if is_edge or self._clock() - self._written >= self._every:
            self._write(None if announcement.stage == OVER else announcement)

    def close(self) -> None:
        """Write the page once more, on which nothing runs; unless nothing was told.

        Whoever was told nothing may not have held the lock: the page is another's.
        """
        if self._stage is not None:
            self._write(None)

    def _write(self, running: Announcement | None) -> None:
        self._written = self._clock()
        try:
            write_report(self._root, running=running, known=self._known)
        except WorkspaceError as error:
            if not self._has_failed:
                logger.warning(NOT_WRITTEN, error)
            self._has_failed = True
