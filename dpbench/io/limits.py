"""How much one source may cost before it is given up: memory, time, unpacked size."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from pathlib import Path

from dpbench.errors import ConfigError

SMALL_SOURCE = 10_000_000
"""Bytes; a source up to this size may take ``seconds``, a larger one in proportion."""

LEAST_MEMORY = 300_000_000
"""Bytes; interpreter, numpy, zarr and their threads."""

MOST_SHARES = 4
"""Parts that four fifths of the memory are cut into, with however many processes."""

SMALL_TEXT = 64_000_000
"""Bytes; what unpacks to less is no bomb, however small the file."""

_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_CGROUP_FILES = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReaderLimits:
    """Limits of one reader process. All are generous; ``--limit`` sets them."""

    memory: int | None = None
    """Bytes that a reader process may allocate; None = four fifths of the machine's
    memory, shared among the processes, but a fifth of it at least."""
    seconds: float = 120.0
    """Time for a source of up to 10 MB; larger ones may take in proportion more."""
    ratio: float = 200.0
    """How many times larger than the file its unpacked content may be, beyond the
    first 64 MB. DFT outputs unpack to about five times their size."""

    def __post_init__(self) -> None:
        """Check that every limit leaves room for something."""
        for name in ("memory", "seconds", "ratio"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"limit {name} = {value}; expected more than zero.")
        if self.memory is not None and self.memory < LEAST_MEMORY:
            raise ConfigError(
                f"limit memory = {self.memory / 1e6:.0f} MB; expected at least "
                f"{LEAST_MEMORY / 1e6:.0f} MB, which a reader process takes to start."
            )

    def seconds_for(self, n_bytes: int) -> float:
        """Return how long a source of this size may take, s."""
        return self.seconds * max(1.0, n_bytes / SMALL_SOURCE)

    def unpacked_for(self, n_bytes: int) -> int:
        """Return how large a packed file of this size may unpack to, bytes."""
        return int(max(SMALL_TEXT, self.ratio * n_bytes))

    def shared_by(self, workers: int) -> "ReaderLimits":
        """Give each of so many processes its share of this machine's memory.

        A fifth of it at least: of many readers few have a large file at one time.
        """
        if self.memory is not None:
            return self
        shares = min(max(1, workers), MOST_SHARES)
        return replace(self, memory=machine_memory() * 4 // (5 * shares))


_ACTIVE: ContextVar[ReaderLimits | None] = ContextVar("limits", default=None)


def active_limits() -> ReaderLimits:
    """Return the limits that readers hold themselves to now."""
    return _ACTIVE.get() or ReaderLimits()


@contextmanager
def limited(limits: ReaderLimits) -> Iterator[None]:
    """Let readers hold themselves to these limits."""
    token = _ACTIVE.set(limits)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def parse_limits(words: Sequence[str]) -> ReaderLimits:
    """Read ``KEY=VALUE`` words, e.g. ``memory=8GB`` or ``seconds=600``.

    Raises:
        ConfigError: If a key is unknown or a value no positive number.
    """
    given: dict[str, float] = {}
    keys = [field.name for field in fields(ReaderLimits)]
    for word in words:
        key, _, text = word.partition("=")
        match = re.fullmatch(r"([0-9.]+(?:e[0-9]+)?)\s*([kmgt]?b?)", text.lower())
        unit = match[2] if match is not None else ""
        if key not in keys or match is None or (unit and key != "memory"):
            raise ConfigError(
                f"--limit '{word}'; expected one of memory=8GB, seconds=600, ratio=500 "
                "(memory of a reader process, time for 10 MB, unpacked over packed)."
            )
        unit = f"{unit}b" if unit and not unit.endswith("b") else unit
        try:
            given[key] = float(match[1]) * _UNITS["" if unit == "b" else unit]
        except ValueError as error:
            raise ConfigError(f"--limit '{word}'; expected a number.") from error
    memory = given.pop("memory", None)
    return ReaderLimits(memory=None if memory is None else int(memory), **given)


def machine_memory() -> int:
    """Return the bytes that processes here may share: the machine's, or less.

    In a container or a batch job the control group allows less.
    """
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in _CGROUP_FILES:
        try:
            text = Path(name).read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            sizes.append(int(text))
    return min(sizes)
