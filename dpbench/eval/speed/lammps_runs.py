"""LAMMPS as the engine of timed steps: a session that goes on, and its own loop times.

The time of a window is LAMMPS' ``Loop time``, without what sets a run up; it is read
from the log and held against the rate that LAMMPS prints beside it.
"""

import json
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import numpy as np

from dpbench.backends.cards import WORKERS
from dpbench.backends.consistency import plugin_variables
from dpbench.backends.environments import launch_of
from dpbench.backends.process_environment import worker_environment
from dpbench.errors import SimulationError
from dpbench.eval.speed import lammps_session
from dpbench.eval.speed.configurations import ProbeJob
from dpbench.eval.speed.lammps_log import LammpsTiming, lammps_timings
from dpbench.frames import Frames
from dpbench.md.lammps_input import data_text, lammps_box
from dpbench.md.state import Structure, masses_of

POTENTIALS = "lib/python3*/site-packages/lammps/share/lammps/potentials"
"""Files of coefficients that the package of LAMMPS brings."""

LAST_WORDS = 300
"""Characters of what LAMMPS wrote to its standard error."""


@final
class LammpsRuns:
    """Runs of one structure, each where the one before ended."""

    def __init__(self, job: ProbeJob, frame: Frames) -> None:
        """Start LAMMPS and give it structure and potential.

        Raises:
            BackendError: If there is no environment with LAMMPS.
            SimulationError: If LAMMPS does not start, or refuses the potential.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="dpbench-lammps-")
        self._log = Path(self._folder.name) / "log.lammps"
        self._words = Path(self._folder.name) / "stderr"
        self._is_set_up = False
        self._process = self._started(job)
        try:
            self._answer()
            self._do(*_commands(job, frame, Path(self._folder.name)))
        except BaseException:
            self.close()
            raise

    def run(self, steps: int) -> float:
        """Make steps; return the seconds of LAMMPS' loop."""
        return self.timing(steps).loop_s

    def timing(self, steps: int) -> LammpsTiming:
        """Make steps; return what the log says of them.

        Raises:
            SimulationError: If LAMMPS ends.
            EvaluationError: If its log contradicts itself.
        """
        if not self._is_set_up:  # forces at the start, once and untimed
            self._do("run 0")
            self._is_set_up = True
        self._do(f"run {steps} pre no")
        text = self._log.read_text(encoding="utf-8", errors="replace")
        return lammps_timings(text, where="log of LAMMPS")[-1]

    def close(self) -> None:
        """End LAMMPS."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        """Return itself; it runs already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End LAMMPS."""
        self.close()

    def _started(self, job: ProbeJob) -> "subprocess.Popen[str]":
        configuration = job.configuration
        own = configuration.own_cards
        launch = launch_of(
            configuration.lammps_backend or "lammps",
            own_cards=None if own is None else Path(own),
        )
        own_files = launch.python.parent.parent.glob(POTENTIALS)
        variables = dict(launch.env)
        for folder in own_files:
            variables["LAMMPS_POTENTIALS"] = str(folder)
        if any(line.startswith("pair_style deepmd") for line in configuration.pair):
            variables |= plugin_variables(launch.python)
        command = [str(launch.python), "-I", lammps_session.__file__]
        with self._words.open("wb") as words:
            try:
                return subprocess.Popen(
                    [*command, str(self._log), str(WORKERS)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=words,
                    text=True,
                    env=worker_environment(variables),
                )
            except OSError as error:
                raise SimulationError(
                    f"{launch.python}: does not start ({error.strerror}). Install "
                    "the backend lammps again."
                ) from error

    def _do(self, *commands: str) -> None:
        stdin = self._process.stdin
        if stdin is None:
            raise RuntimeError("LAMMPS was started without a pipe")
        try:
            stdin.write(json.dumps({"commands": commands}) + "\n")
            stdin.flush()
        except OSError as error:
            raise self._ended() from error
        self._answer()

    def _answer(self) -> None:
        stdout = self._process.stdout
        line = "" if stdout is None else stdout.readline()
        try:
            told: Any = json.loads(line)
        except ValueError as error:
            raise self._ended() from error
        if "error" in told:
            raise SimulationError(f"LAMMPS: {told['error']}")

    def _ended(self) -> SimulationError:
        words = " ".join(self._words.read_text(errors="replace").split())
        code = self._process.poll()
        return SimulationError(
            f"LAMMPS: ended (exit code {code}): "
            f"{words[-LAST_WORDS:] or 'it said nothing'}"
        )


def _commands(job: ProbeJob, frame: Frames, folder: Path) -> list[str]:
    """Write the data file; return the commands that set a run up."""
    configuration = job.configuration
    structure = Structure(
        where=job.family,
        z=frame.z.astype(np.int64),
        coord=frame.coord.astype(np.float64),
        box=frame.box[0],
        pbc=frame.pbc[0],
    )
    data = folder / "start.data"
    types = configuration.type_map
    text = data_text(structure, masses_of(frame.z), elements=types)
    data.write_text(text, encoding="utf-8")
    kelvin, seed = repr(job.temperature), job.seed + 1
    return [
        "units metal",
        "atom_style atomic",
        "atom_modify map array",
        f"boundary {lammps_box(structure).boundary}",
        f"read_data {data}",
        *configuration.pair,
        f"neighbor {job.skin!r} bin",
        "neigh_modify every 1 delay 0 check yes",
        f"timestep {job.timestep / 1000!r}",
        f"velocity all create {kelvin} {seed} mom yes rot no dist gaussian loop all",
        "fix move all nve",
        f"fix bath all langevin {kelvin} {kelvin} {job.tdamp / 1000!r} {seed}",
        "thermo 100000000",
    ]
