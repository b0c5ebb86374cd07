"""What a running exploration says of itself, to whoever draws it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Announcement:
    """How far a stage is; told at its begin, after each task and at its end."""

    iteration: int | None
    """Counts from 0; None = the start."""
    stage: str
    """``train``, ``explore``, ``select``, ``label``, ``ingest`` or ``assess``."""
    done: int = 0
    """Tasks that are done."""
    total: int = 0
    """All tasks of the stage; 0 = it has none that are counted."""
    text: str = ""
    """A few words on what came of it so far."""
    is_over: bool = False
    """Whether the stage has ended."""


Announce = Callable[[Announcement], None]


def silent(announcement: Announcement) -> None:
    """Say nothing."""
    del announcement
