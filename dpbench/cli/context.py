"""What every command is handed: the workspace asked for and how much to say."""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dpbench.errors import WorkspaceError

if TYPE_CHECKING:
    from dpbench.store.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """The global options, as ``ctx.obj`` of every command (``@pass_context``)."""

    workspace_dir: Path | None = None
    """``--workspace``; None means: look for one as ``Workspace.find`` does."""

    verbosity: int = 0
    """-1 errors only (``-q``), 0 warnings, 1 information, 2 everything."""

    @property
    def is_quiet(self) -> bool:
        """True when progress bars and notes are not wanted."""
        return self.verbosity < 0

    def workspace(self, create: bool = False) -> "Workspace":
        """Open the workspace; make it when missing only if ``create``.

        Raises:
            WorkspaceError: If there is none and ``create`` is false.
        """
        # Imported here so that `dpbench --help` needs neither SQL nor arrays.
        from dpbench.store.workspace import Workspace

        return Workspace.find(self.workspace_dir, create=create)

    def own_cards(self) -> Path | None:
        """Return the folder of the workspace's own cards of backends.

        None where there is no workspace and none was asked for.

        Raises:
            WorkspaceError: If there is none and one was asked for.
        """
        try:
            return self.workspace(create=False).root / "backends"
        except WorkspaceError:
            if self.workspace_dir is not None:
                raise
            return None


pass_context = click.make_pass_decorator(Context, ensure=True)


def set_up_logging(verbosity: int) -> None:
    """Send the ``dpbench`` logger to stderr, as loud as asked; safe to call again."""
    levels = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}
    logger = logging.getLogger("dpbench")
    logger.setLevel(levels.get(verbosity, logging.DEBUG))
    for handler in [h for h in logger.handlers if isinstance(h, _StderrHandler)]:
        logger.removeHandler(handler)
    handler = _StderrHandler()
    where = " %(name)s" if verbosity > 0 else ""  # modules: for who looks closer
    handler.setFormatter(logging.Formatter(f"%(levelname)s{where}: %(message)s"))
    logger.addHandler(handler)


class _StderrHandler(logging.Handler):
    """Writes to what ``sys.stderr`` is at that moment, progress bars included."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as one line."""
        try:
            print(self.format(record), file=sys.stderr)
        except (OSError, ValueError):  # stderr is closed: nobody is listening
            self.handleError(record)
