"""Driver of tblite: GFN-xTB in this process."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from dpbench.errors import ConfigError
from dpbench.explore.labels import in_process
from dpbench.explore.labels.driver import Driver, Finding, JobResources, Trouble
from dpbench.explore.labels.remedies import Remedy
from dpbench.explore.labels.settings import LabelSettings
from dpbench.explore.labels.tblite_options import TbliteOptions
from dpbench.explore.labels.tight_binding import (
    Convergence,
    code_version,
    level_of_theory,
    single_point,
)
from dpbench.frames import Frames

DAMPING = 0.4
"""tblite's own share of the new charges in each step."""

LADDER = (
    Remedy(
        name="more_iterations",
        helps=frozenset({Trouble.UNCONVERGED}),
        words="four times as many iterations",
    ),
    Remedy(
        name="smaller_damping",
        helps=frozenset({Trouble.UNCONVERGED}),
        words="a tenth of the new charges in each step in place of four",
    ),
)
"""Remedies; none of them moves the converged charges."""


def build(settings: LabelSettings) -> Driver:
    """Return the driver of these settings."""
    return TbliteDriver(options=settings.tblite or TbliteOptions())


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TbliteDriver:
    """Labels frames by tblite."""

    name: ClassVar[str] = "tblite"
    code: ClassVar[str] = in_process.CODE

    options: TbliteOptions

    def identity(self) -> dict[str, Any]:
        """Return all that decides a label."""
        decides = asdict(self.options)
        del decides["max_iterations"]
        return {"driver": self.name, "version": code_version(), **decides}

    def foretold(self) -> dict[str, Any]:
        """Return the level of theory."""
        return level_of_theory(self.options)

    def declared(self) -> dict[str, Any]:
        """Return the level of theory: an extended XYZ file tells none."""
        return level_of_theory(self.options)

    def check_frames(self, frames: Frames) -> None:
        """Check that every frame is periodic along all directions, or along none."""
        some = np.flatnonzero(frames.pbc.any(axis=1) & ~frames.pbc.all(axis=1))
        if len(some):
            raise ConfigError(
                f"frame {int(some[0])}: periodic along "
                f"{int(frames.pbc[some[0]].sum())} of three cell vectors; tblite takes "
                "all or none. Make slabs periodic along all, with vacuum between."
            )

    def write(
        self,
        frame: Frames,
        folder: Path,
        *,
        attempt: int,
        remedies: Sequence[str] = (),
    ) -> None:
        """Keep the frame that is asked for."""
        del attempt
        in_process.write_frame(frame, folder, remedies=remedies)

    def run(self, folder: Path, *, attempt: int, resources: JobResources) -> None:
        """Compute the label; threads are those of this process."""
        del attempt, resources
        frame, remedies = in_process.read_frame(folder)
        found = single_point(frame, self.options, self._convergence(remedies))
        in_process.keep(folder, found)

    def check(self, folder: Path, *, tried: Sequence[str] = ()) -> Finding:
        """Say what came of it."""
        return in_process.finding_of(folder, ladder=LADDER, tried=tried)

    def outputs(self, folder: Path) -> tuple[Path, ...]:
        """Return the file that holds the label."""
        return (folder / in_process.LABEL,)

    def _convergence(self, remedies: Sequence[str]) -> Convergence:
        more = 4 if "more_iterations" in remedies else 1
        return Convergence(
            max_iterations=more * self.options.max_iterations,
            damping=0.1 if "smaller_damping" in remedies else DAMPING,
        )
