"""What the task ``nvt`` may choose, and how its runs meet their references."""

import math
from dataclasses import dataclass, field
from typing import Literal

from dpbench.errors import ConfigError, EvaluationError
from dpbench.eval.motion.andersen import collisions
from dpbench.eval.motion.references import Choice, Reference, references_of
from dpbench.eval.motion.running import Plan
from dpbench.eval.motion.watching import Limits
from dpbench.eval.structures import default_timestep
from dpbench.eval.tasks.task import Job
from dpbench.frames import Frames, uniform
from dpbench.md.settings import Baths

Bath = Literal["bussi", "nhc", "langevin", "andersen"]

UNKNOWN_INTERVAL = 10
"""Steps between two frames where the reference tells no time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NvtSettings:
    """What a suite may choose."""

    thermostat: Bath = "bussi"
    """That of the reference, where dynamics shall be compared; ``bussi`` leaves them
    nearly as they are."""
    tdamp: float = 100.0
    """fs, of the thermostat; for ``andersen`` the time between two collisions."""
    temperature: float | None = None
    """K; None: the mean temperature that each reference prints."""
    interval: float | None = None
    """fs between two frames of the references; None: as each source tells."""
    timestep: float | None = None
    """fs at most; None: 0.5 with hydrogen, else 1. Frames are a whole number apart."""
    equilibration: float = 200.0
    """fs that each run is given before it is compared."""
    discard: float = 0.2
    """Part of each reference dropped at its start, as not equilibrated."""
    ntrajectories: int = 20
    """References at most; formulas take turns."""
    nframes: int = 2000
    """Frames of each reference, and of each run, at most."""
    seeds: tuple[int, ...] = tuple(range(8))
    """Of the velocities; one run each, as long as the reference."""
    r_max: float | None = None
    """Å, end of g(r); None: half the shortest lattice vector."""
    r_bin: float = 0.05
    """Å, width of a bin of g(r)."""
    bond_factor: float = 1.25
    """Bonds end at this times the sum of two covalent radii."""
    limits: Limits = field(default_factory=Limits)
    """What ends a run as failed."""

    def __post_init__(self) -> None:
        """Check every number."""
        if not 0 <= self.discard < 1:
            raise ConfigError(f"discard = {self.discard}; expected 0 up to below 1.")
        if not self.seeds or self.ntrajectories < 1 or self.nframes < 1:
            raise ConfigError(
                "seeds, ntrajectories, nframes: expected at least one of each."
            )
        if not (self.tdamp > 0 and self.r_bin > 0 and self.equilibration >= 0):
            raise ConfigError(
                f"tdamp = {self.tdamp}, r_bin = {self.r_bin}, equilibration = "
                f"{self.equilibration}; expected positive numbers."
            )


MODES = {
    "smoke": NvtSettings(ntrajectories=1, nframes=60, seeds=(0, 1, 2)),
    "standard": NvtSettings(ntrajectories=6, nframes=400),
    "full": NvtSettings(seeds=tuple(range(16))),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """How steps of a run meet the frames of its reference."""

    timestep: float
    """fs."""
    every: int
    """Steps between two frames."""
    equilibration: int
    """Frames before the comparison begins."""

    @property
    def interval(self) -> float:
        """Time between two frames, fs."""
        return self.timestep * self.every


def chosen_references(job: Job) -> tuple[list[Reference], dict[str, str]]:
    """Find the references that the settings ask for.

    Raises:
        EvaluationError: If there is no part.
    """
    settings: NvtSettings = job.settings
    if job.part is None:
        raise EvaluationError(
            "task 'nvt': has no frames to compare with; expected a part of a dataset. "
            "Name one with --dataset NAME[-vN][:PART]."
        )
    choice = Choice(
        most=settings.ntrajectories,
        most_frames=settings.nframes,
        discard=settings.discard,
        interval=settings.interval,
        temperature=settings.temperature,
    )
    return references_of(job.part, choice)


def clock_of(reference: Reference, settings: NvtSettings) -> Clock:
    """Choose a time step that divides the time between frames."""
    longest = settings.timestep or default_timestep(start_of(reference))
    if reference.interval is None:
        timestep, every = longest, UNKNOWN_INTERVAL
    else:
        every = max(1, math.ceil(reference.interval / longest - 1e-9))
        timestep = reference.interval / every
    frames = math.ceil(settings.equilibration / (timestep * every) - 1e-9)
    return Clock(timestep=timestep, every=every, equilibration=frames)


def plan_of(reference: Reference, settings: NvtSettings) -> Plan:
    """Plan runs at the reference's temperature and cell, each as long as it is."""
    clock = clock_of(reference, settings)
    is_andersen = settings.thermostat == "andersen"
    baths = Baths(
        ensemble="nve" if is_andersen else "nvt",
        thermostat=None if settings.thermostat == "andersen" else settings.thermostat,
        temperature=reference.temperature,
        timestep=clock.timestep,
        tdamp=settings.tdamp,
    )
    collide = collisions(
        temperature=reference.temperature,
        timestep=clock.timestep,
        time=settings.tdamp,
        seed=settings.seeds[0],
    )
    return Plan(
        baths=baths,
        steps=(clock.equilibration + reference.nframes - 1) * clock.every,
        seeds=settings.seeds,
        sample_every=clock.every,
        limits=settings.limits,
        after_step=collide if is_andersen else None,
        keeps_coord=True,
    )


def start_of(reference: Reference) -> Frames:
    """Return the first frame of a reference."""
    box = None if reference.box is None else reference.box[:1]
    return uniform(z=reference.z, coord=reference.coord[:1], box=box)
