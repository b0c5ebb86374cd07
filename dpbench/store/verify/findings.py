"""What verifying finds, one record a fault."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import final


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One fault of one file."""

    where: str
    """Path or URL of the file, else what is wrong."""
    found: str
    """What was found, and what was expected."""
    array: str | None = None
    """Array of a segment that it concerns, e.g. ``atoms/coord``."""
    chunk: int | None = None
    """Number of the chunk in the array."""
    frames: tuple[int, int] | None = None
    """Frames of the segment [start, stop) that it concerns, at most."""
    versions: tuple[str, ...] = ()
    """Versions that use the file."""

    def __str__(self) -> str:
        """Say it in one line."""
        parts = [self.found]
        if self.array is not None:
            parts.insert(0, f"array {self.array}")
        if self.frames is not None:
            parts.append(
                f"frames {self.frames[0]} to {self.frames[1] - 1} of the segment"
            )
        if self.versions:
            parts.append(f"used by {', '.join(self.versions)}")
        return f"{self.where}: {'; '.join(parts)}"


@final
@dataclass(kw_only=True, slots=True)
class Findings:
    """The faults found so far, and what was read."""

    faults: list[Finding] = field(default_factory=list)
    """In the order in which they were found."""
    n_files: int = 0
    """Files read."""
    n_bytes: int = 0
    """Their size."""
    n_frames: int = 0
    """Frames whose digests were made again."""

    def add(self, where: str, found: str, *, array: str | None = None) -> None:
        """Add a fault."""
        self.faults.append(Finding(where=where, found=found, array=array))

    def count(self, n_bytes: int) -> None:
        """Count a file that was read."""
        self.n_files += 1
        self.n_bytes += n_bytes

    @property
    def places(self) -> set[str]:
        """The files that have a fault."""
        return {fault.where for fault in self.faults}


def some(numbers: Iterable[int]) -> str:
    """Word a few of many numbers: ``3, 4, 7 and 12 more``."""
    listed = list(numbers)
    first = ", ".join(map(str, listed[:5]))
    more = len(listed) - 5
    return f"{first} and {more} more" if more > 0 else first
