"""Text files that a running program adds to, read on from where they ended.

A program may do to its files what it likes: a pipe is not waited for, a link is not
followed, and a file that is written anew is read anew.
"""

import os
import stat
from abc import ABC, abstractmethod
from pathlib import Path

from dpbench.trainers.foreign import Seen

MOST = 1 << 25
"""Bytes of a file that are read at once; the rest at the next look."""

HEAD = 4096
"""First bytes by which a file that was written anew is known."""


class GrowingText:
    """A file and how far it was read."""

    def __init__(self, path: Path) -> None:
        """Read nothing yet."""
        self.path = path
        self._known: tuple[int, ...] = ()
        self._inode: int | None = None
        self._head = b""
        self._offset = 0

    def new_lines(self) -> tuple[bool, list[str]]:
        """Return whether the file begins anew, and its new lines that are whole.

        A file that did not change is not opened; one that is missing, or no regular
        file, has no lines.
        """
        try:
            found = self.path.lstat()
        except OSError:
            return False, []
        known = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if known == self._known or not stat.S_ISREG(found.st_mode):
            return False, []
        try:
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(self.path, flags), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    return False, []
                is_anew = (
                    found.st_size < self._offset
                    or self._inode not in (None, found.st_ino)
                    or file.read(len(self._head)) != self._head
                )
                if is_anew:
                    self._offset, self._head = 0, b""
                file.seek(self._offset)
                added = file.read(MOST)
        except OSError:
            return False, []
        whole = added[: added.rfind(b"\n") + 1]
        # Where there was more than is read at once, the file is looked at again.
        self._known = known if len(added) < MOST else ()
        self._inode = found.st_ino
        self._head = self._head or whole[:HEAD]
        self._offset += len(whole)
        return is_anew, whole.decode(errors="replace").split("\n")[:-1]


class AbstractFollower(ABC):
    """Follows the learning curve of one run; nothing is read twice."""

    def __init__(self, folder: Path) -> None:
        """Begin with the run's folder."""
        self.folder = folder
        self._files: dict[Path, GrowingText] = {}
        self._seen = Seen()
        self.clear()

    def look(self) -> Seen:
        """Say how far the run is."""
        found = self._read()
        if any(is_anew for is_anew, _ in found):
            self.clear()
            self._files.clear()
            found = self._read()
        lines = [line for _, added in found for line in added]
        for line in lines:
            self.take(line)
        if lines:
            self._seen = self.sum_up()
        return self._seen

    def _read(self) -> list[tuple[bool, list[str]]]:
        return [
            self._files.setdefault(path, GrowingText(path)).new_lines()
            for path in self.paths()
        ]

    @abstractmethod
    def paths(self) -> list[Path]:
        """Return the files of the curve in their order; they need not be there."""

    @abstractmethod
    def clear(self) -> None:
        """Forget all lines."""

    @abstractmethod
    def take(self, line: str) -> None:
        """Take a whole line, without its end."""

    @abstractmethod
    def sum_up(self) -> Seen:
        """Return what the lines until here say."""
