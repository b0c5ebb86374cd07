"""One HTML page about an exploration, rewritten while it goes on."""

from pathlib import Path

from dpbench.explore.announce import Announcement
from dpbench.explore.report.collect import Known, collect
from dpbench.explore.report.page import render_report
from dpbench.store.files import disk_errors, write_atomically

__all__ = ["PAGE", "write_report"]

PAGE = "report.html"
"""File in the folder of the exploration."""


def write_report(
    root: Path,
    path: Path | None = None,
    *,
    running: Announcement | None = None,
    known: Known | None = None,
) -> Path:
    """Read what the stages of an exploration came to, and write the page about it.

    Args:
        root: Folder of the exploration.
        path: The page; None = ``report.html`` there.
        running: What is being done at this moment; None = nothing.
        known: Holds what earlier calls have read, so that it is read once.

    Raises:
        WorkspaceError: If a result is damaged, or the page cannot be written.
    """
    path = root / PAGE if path is None else path
    text = render_report(collect(root, running=running, known=known))
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    return path
