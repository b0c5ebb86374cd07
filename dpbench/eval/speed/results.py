"""What a ladder gives: raw times of every process, and what follows from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dpbench.eval.speed.processes import Status
from dpbench.metrics.statistics import spread

SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """One timed quantity at one size."""

    samples: tuple[tuple[float, ...], ...]
    """µs/atom/step, [process][window]; processes in the order of the rounds, so that
    two configurations of one run can be compared round by round."""
    median: float
    """µs/atom/step: median over processes of each one's median."""
    quartile_low: float
    quartile_high: float
    ci_low: float
    """Lower end of the 95 % bootstrap interval of the median."""
    ci_high: float
    """Upper end of the 95 % bootstrap interval of the median."""
    interval_over: str
    """``processes``, or ``windows`` where there are fewer than three processes."""
    steps_per_s: float
    katom_step_per_s: float
    steps_per_window: int
    warmup_steps: int
    """Steps before the first window of a process; none of them counts."""
    warmup_s: float
    """Median over processes."""
    first_call_s: float
    """Median over processes: compilation and allocation included."""
    ns_per_day: dict[str, float] = field(default_factory=dict)
    """Dynamics only; the key names the time step, ``ns_per_day_dt_1fs``."""
    list_rebuilds: int | None = None
    """Neighbour lists built by one process, where the engine tells."""
    energy_uj_per_atom_step: float | None = None
    """Median over processes; None where no power can be read."""
    energy_note: str | None = None
    """Where the energy is from, or why there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """All levels at one size of one family."""

    natoms: int
    asked: int
    """Atoms asked for, at least."""
    replicas: tuple[int, int, int]
    density: float | None
    """Atoms per Å^3 of the filled part of the cell."""
    mean_neighbours: float | None
    """Within the cutoff; None where the backend tells none."""
    status: Status
    """Anything but ``ok`` ends the ladder."""
    reason: str | None
    peak_mib: float
    """Largest memory of a process, MiB."""
    opening_s: float | None
    """Median time of opening the model, s; no part of any timing."""
    others_cores: float | None
    """Cores that other programs kept busy meanwhile."""
    is_busy: bool
    levels: dict[str, Level]
    """By metric name; empty unless the status is ok."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ladder:
    """All sizes of one family on one configuration."""

    family: str
    elements: tuple[str, ...]
    """Empty where the model knows none of the family: then there are no rungs."""
    timestep: float
    """fs."""
    rungs: tuple[Rung, ...]
    """From small to large."""

    @property
    def max_natoms(self) -> int | None:
        """Return the largest size that ran; None where none did."""
        return max((r.natoms for r in self.rungs if r.status == "ok"), default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ladders:
    """Everything about one configuration."""

    label: str
    engine: str
    kernels: dict[str, str]
    """What ran, where the backend tells."""
    ladders: tuple[Ladder, ...]
    wall_time_s: float
    """Of all its processes together."""


def level_of(
    told: Sequence[Mapping[str, Any]], *, natoms: int, timestep: float | None
) -> Level:
    """Join what the processes of one case say of one level.

    Args:
        told: One mapping per process, as ``probe`` makes them.
        natoms: Atoms of the structure.
        timestep: fs; None for what is no molecular dynamics.
    """
    samples = tuple(tuple(1e6 * s / natoms for s in one["seconds"]) for one in told)
    medians = [spread(windows).median for windows in samples]
    is_over_processes = len(medians) >= 3
    pooled = [value for windows in samples for value in windows]
    summary = spread(medians if is_over_processes else pooled)
    steps_per_s = 1e6 / (summary.median * natoms)
    per_day = {}
    if timestep is not None:
        value = timestep * steps_per_s * SECONDS_PER_DAY * 1e-6
        per_day = {f"ns_per_day_dt_{timestep:g}fs": value}
    joules = [one.get("energy_j_per_step") for one in told]
    known = [1e6 * value / natoms for value in joules if value is not None]
    first = told[0]
    return Level(
        samples=samples,
        median=summary.median,
        quartile_low=summary.quartile_low,
        quartile_high=summary.quartile_high,
        ci_low=summary.ci_low,
        ci_high=summary.ci_high,
        interval_over="processes" if is_over_processes else "windows",
        steps_per_s=steps_per_s,
        katom_step_per_s=1e3 / summary.median,
        steps_per_window=int(first["steps_per_window"]),
        warmup_steps=int(first["warmup_steps"]),
        warmup_s=spread([one["warmup_s"] for one in told]).median,
        first_call_s=spread([one["first_call_s"] for one in told]).median,
        ns_per_day=per_day,
        list_rebuilds=first.get("list_rebuilds"),
        energy_uj_per_atom_step=spread(known).median if known else None,
        energy_note=first.get("energy_from") or first.get("energy_why_not"),
    )
