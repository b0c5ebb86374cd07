"""What every labelling program looks like from outside.

``labelling`` calls a driver like this, in a fresh folder for each attempt:

    driver.write(frame, folder, attempt=0, remedies=())
    driver.run(folder, attempt=0, resources=resources)
    finding = driver.check(folder, tried=())
    ... if not finding.ok: the same with attempt=1, remedies=(finding.remedy,)
    ... if finding.ok: driver.outputs(folder) are what ingest reads

A driver holds no state between calls: ``check`` and ``outputs`` may run in another
process than ``run``, after a restart, with nothing but the folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from dpbench.errors import DpbenchError
from dpbench.frames import Frames

AGAIN = "again"
"""The remedy that changes nothing: a job that was killed from outside runs again."""


class LabelError(DpbenchError):
    """A frame that cannot be labelled; costs this frame alone, never the loop."""


class Trouble(StrEnum):
    """What went wrong in an attempt; written to ``label.json``: add, never rename."""

    NONE = ""
    UNCONVERGED = "unconverged"
    """The self-consistency was not reached."""
    BROKEN = "broken"
    """The program gave up: an eigensolver, a matrix, a symmetry."""
    DIED = "died"
    """It ended without saying why: a signal, memory, a lost node."""
    TIMED_OUT = "timed_out"
    """It was stopped because it took longer than it may."""
    REFUSED = "refused"
    """It does not understand its input, or misses a file: no remedy helps."""
    UNREADABLE = "unreadable"
    """It ended well and its output holds no label, or that of another frame."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What came of one attempt."""

    ok: bool
    """Whether ``outputs`` hold a converged label of the frame."""
    reason: str = ""
    """What went wrong, in one line; empty if nothing did."""
    trouble: Trouble = Trouble.NONE
    """The class of what went wrong."""
    remedy: str | None = None
    """Name of what the next attempt changes besides what was tried, or ``AGAIN``;
    None = there is nothing left to try."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobResources:
    """What one job may use."""

    threads: int = 1
    """Threads of each process (OMP_NUM_THREADS)."""
    seconds: float = 3600.0
    """Wall time after which an attempt is stopped."""


class Driver(Protocol):
    """One program that labels frames."""

    @property
    def name(self) -> str:
        """Key of the driver table, e.g. ``qe``."""

    @property
    def code(self) -> str:
        """The CODE argument of ``dpbench ingest`` that reads ``outputs``."""

    def identity(self) -> dict[str, Any]:
        """Return all that decides a label, as plain JSON values.

        Template, digests of pseudopotentials, version of the program; not what only
        moves the way to the same label (threads, mixing, time limits). A label is
        kept under the digest of its frame and of this.

        Raises:
            ConfigError: If the program or a file of it is missing.
        """

    def foretold(self) -> dict[str, Any]:
        """Return what is known of the level of theory before any run.

        Keys as in ``dpbench.io.parsed.THEORY_KEYS``; an empty dict = nothing. It is
        compared with the dataset before the first job is paid for.
        """

    def declared(self) -> dict[str, Any] | None:
        """Return the level of theory that ingest must be told (``--theory``).

        None where the outputs tell it themselves, as those of DFT codes do.
        """

    def check_frames(self, frames: Frames) -> None:
        """Check that all frames can be labelled, before the first is.

        Raises:
            ConfigError: If an element lacks a pseudopotential, a cell is missing, ...
        """

    def write(
        self,
        frame: Frames,
        folder: Path,
        *,
        attempt: int,
        remedies: Sequence[str] = (),
    ) -> None:
        """Write the input of one frame into an empty folder.

        Args:
            frame: One frame, without labels.
            folder: Of this attempt.
            attempt: 0, 1, 2 ...
            remedies: Names of all that earlier findings asked for, in order.
        """

    def run(self, folder: Path, *, attempt: int, resources: JobResources) -> None:
        """Do the calculation, as a process or in this one; a failure is no error.

        Raises:
            ConfigError: If the program is not there at all.
            LabelError: If this frame cannot be labelled; counts as REFUSED.
        """

    def check(self, folder: Path, *, tried: Sequence[str] = ()) -> Finding:
        """Say what came of the run in ``folder``.

        Args:
            folder: Of the attempt.
            tried: Names of the remedies that this attempt and earlier ones had.
        """

    def outputs(self, folder: Path) -> tuple[Path, ...]:
        """Return the files that ingest reads, main file first."""
