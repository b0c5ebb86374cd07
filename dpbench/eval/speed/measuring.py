"""The one engine of speed measurements: sizes, processes and rounds in their order.

Of each size of a family, every configuration gets one process a round, and the rounds
start with another configuration each time. So whatever the machine does meanwhile falls
on all alike, and round k of two configurations lies side by side in time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dpbench.eval.speed import machine
from dpbench.eval.speed.configurations import Configuration, ProbeJob
from dpbench.eval.speed.families import shared_elements
from dpbench.eval.speed.kept_probes import KeptProbes, Observed
from dpbench.eval.speed.processes import Probed, run_probe
from dpbench.eval.speed.results import Ladder, Ladders, Rung, level_of
from dpbench.eval.speed.settings import LEVELS, SpeedSettings
from dpbench.metrics.statistics import spread
from dpbench.train.memory import free_memory

Run = Callable[[ProbeJob], Probed]
"""Does one job; tests bring their own."""

MEMORY_SHARE = 0.8
"""Of what is free, a process may take so much."""

STARTING_S = {"dpbench": 4.0, "deepmd-jax": 30.0}
"""Seconds of starting and opening, by backend; what is not named takes 12."""


@dataclass(kw_only=True, slots=True)
class _Climb:
    """One configuration on the ladder of one family."""

    index: int
    configuration: Configuration
    elements: tuple[str, ...]
    rungs: list[Rung] = field(default_factory=list)
    kernels: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def is_climbing(self) -> bool:
        """Whether a larger size is to be tried."""
        return bool(self.elements) and all(r.status == "ok" for r in self.rungs)


def measure_ladders(
    configurations: Sequence[Configuration],
    settings: SpeedSettings,
    *,
    say: Callable[[str], None] = lambda _: None,
    run: Run = run_probe,
    kept: KeptProbes | None = None,
) -> list[Ladders]:
    """Climb every family's ladder with every configuration.

    Args:
        configurations: Competitors; one that gives out at a size is not asked for
            larger ones, and the others go on.
        settings: Sizes, families, processes, windows.
        say: Told each size as it begins.
        run: Does one process.
        kept: Has the processes that an earlier call measured, and takes new ones.

    Returns:
        One result per configuration, in their order.
    """
    families: list[list[_Climb]] = []
    for family in settings.families:
        maps = [configuration.type_map for configuration in configurations]
        climbs = [
            _Climb(index=index, configuration=configuration, elements=elements)
            for index, (configuration, elements) in enumerate(
                zip(configurations, shared_elements(family, maps), strict=True)
            )
        ]
        for asked in settings.sizes:
            climbing = [climb for climb in climbs if climb.is_climbing]
            if not climbing:
                break
            names = ", ".join(climb.configuration.label for climb in climbing)
            say(f"{family}, {asked} atoms: {names}")
            _climb_one(climbing, family, asked, settings, _Observer(run, kept))
        families.append(climbs)
    return [
        _collected(index, configuration, families, settings)
        for index, configuration in enumerate(configurations)
    ]


@dataclass(frozen=True, slots=True)
class _Observer:
    """Runs a process, or finds it among those that were kept."""

    run: Run
    kept: KeptProbes | None

    def __call__(self, job: ProbeJob, number: int) -> Observed:
        """Return the process of a round."""
        known = None if self.kept is None else self.kept.find(job, number)
        if known is not None:
            return known
        before = machine.look()
        probed = self.run(job)
        after = machine.look()
        found = Observed(
            probed=probed,
            seconds=after.at - before.at,
            others_cores=machine.cores_of_others(before, after),
        )
        if self.kept is not None:
            self.kept.keep(job, number, found)
        return found


def _climb_one(
    climbing: list[_Climb],
    family: str,
    asked: int,
    settings: SpeedSettings,
    observe: _Observer,
) -> None:
    """Measure one size, in rounds over the configurations."""
    probed: dict[int, list[Probed]] = {climb.index: [] for climb in climbing}
    others: dict[int, list[float]] = {climb.index: [] for climb in climbing}
    for number in range(settings.processes):
        turn = number % len(climbing)
        for climb in [*climbing[turn:], *climbing[:turn]]:
            so_far = probed[climb.index]
            if so_far and so_far[-1].status != "ok":
                continue
            seen = observe(_job(climb, family, asked, settings), number)
            so_far.append(seen.probed)
            climb.seconds += seen.seconds
            busy = seen.others_cores
            others[climb.index] += [] if busy is None else [busy]
    for climb in climbing:
        rung = _rung(
            probed[climb.index],
            asked,
            settings,
            others=max(others[climb.index], default=None),
            timestep=timestep_of(climb.elements, settings),
        )
        climb.rungs.append(rung)
        climb.kernels |= probed[climb.index][0].answer.get("kernels") or {}


def timestep_of(elements: Sequence[str], settings: SpeedSettings) -> float:
    """Return the time step, fs."""
    return settings.timestep or (0.5 if "H" in elements else 1.0)


def _job(climb: _Climb, family: str, asked: int, settings: SpeedSettings) -> ProbeJob:
    gib = settings.memory_gib
    memory = MEMORY_SHARE * free_memory() if gib is None else gib * 2**30
    return ProbeJob(
        configuration=climb.configuration,
        family=family,
        elements=climb.elements,
        natoms=asked,
        levels=settings.levels,
        windows=settings.windows,
        window_s=settings.window_s,
        threads=settings.threads,
        temperature=settings.temperature,
        tdamp=settings.tdamp,
        timestep=timestep_of(climb.elements, settings),
        skin=settings.skin,
        seed=settings.seed,
        memory=int(memory),
        timeout_s=settings.timeout_s,
    )


def _rung(
    probed: Sequence[Probed],
    asked: int,
    settings: SpeedSettings,
    *,
    others: float | None,
    timestep: float,
) -> Rung:
    """Join the processes of one size; one that gave out speaks for all."""
    last = probed[-1]
    facts = next((p.answer for p in probed if p.answer), {})
    natoms = int(facts.get("natoms", asked))
    levels = {}
    if last.status == "ok":
        levels = {
            name: level_of(
                [p.answer["levels"][name] for p in probed],
                natoms=natoms,
                timestep=timestep if name == LEVELS[2] else None,
            )
            for name in settings.levels
            if name in last.answer["levels"]
        }
    opening = [p.answer["opening_s"] for p in probed if "opening_s" in p.answer]
    replicas: Any = facts.get("replicas", (1, 1, 1))
    return Rung(
        natoms=natoms,
        asked=asked,
        replicas=tuple(replicas),
        density=facts.get("density"),
        mean_neighbours=facts.get("mean_neighbours"),
        status=last.status,
        reason=last.reason,
        peak_mib=round(max(p.peak_bytes for p in probed) / 2**20, 1),
        opening_s=spread(opening).median if opening else None,
        others_cores=others,
        is_busy=machine.is_busy(others),
        levels=levels,
    )


def _collected(
    index: int,
    configuration: Configuration,
    families: Sequence[Sequence[_Climb]],
    settings: SpeedSettings,
) -> Ladders:
    climbs = [climbs[index] for climbs in families]
    return Ladders(
        label=configuration.label,
        engine=configuration.engine,
        kernels={k: v for climb in climbs for k, v in climb.kernels.items()},
        ladders=tuple(
            Ladder(
                family=family,
                elements=climb.elements,
                timestep=timestep_of(climb.elements, settings),
                rungs=tuple(climb.rungs),
            )
            for family, climb in zip(settings.families, climbs, strict=True)
        ),
        wall_time_s=round(sum(climb.seconds for climb in climbs), 3),
    )


def expected_seconds(
    configurations: Sequence[Configuration], settings: SpeedSettings
) -> float:
    """Estimate how long a measurement takes, were no size to end a ladder.

    Windows and warm-up last as long as asked for while a step is shorter than that;
    large sizes of slow models take longer.
    """
    total = 0.0
    levels = len(settings.levels)
    for family in settings.families:
        maps = [configuration.type_map for configuration in configurations]
        for configuration, elements in zip(
            configurations, shared_elements(family, maps), strict=True
        ):
            if not elements:
                continue
            start = STARTING_S.get(configuration.backend, 12.0)
            timed = levels * settings.window_s * (settings.windows + 2)
            total += len(settings.sizes) * settings.processes * (start + timed)
    return total
