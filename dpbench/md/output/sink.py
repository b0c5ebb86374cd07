"""The contract of a file that grows during a run."""

from typing import Any, Protocol, runtime_checkable

from dpbench.md.observables import Sample
from dpbench.md.state import State


@runtime_checkable
class Sink(Protocol):
    """One output of a run; can be cut back to where a restart file was written."""

    def position(self) -> Any:
        """Write all that is held back; return where the file ends, as JSON."""

    def cut(self, position: Any) -> None:
        """Drop what was written after ``position``."""

    def close(self) -> None:
        """Write all that is held back and let go of the file."""


@runtime_checkable
class LogSink(Sink, Protocol):
    """Takes log points."""

    def write(self, sample: Sample) -> None:
        """Write a log point."""


@runtime_checkable
class TrajectorySink(Sink, Protocol):
    """Takes frames."""

    def write(self, state: State, sample: Sample) -> None:
        """Write the atoms, with the log point of the same step."""
