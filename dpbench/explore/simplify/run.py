"""Growing the subset, and training what it is compared with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import TrainingError
from dpbench.explore.select.choosing import choose
from dpbench.explore.select.deviations import deviations
from dpbench.explore.select.judging import judge
from dpbench.explore.select.settings import SelectSettings
from dpbench.explore.select.table import table_of
from dpbench.explore.simplify.material import Material, file_subset
from dpbench.explore.simplify.measuring import errors_of
from dpbench.explore.simplify.record import (
    CHOSEN,
    FULL,
    RANDOM,
    Point,
    Round,
    Simplified,
)
from dpbench.explore.simplify.settings import SimplifySettings
from dpbench.explore.simplify.shadow import shadow_of
from dpbench.explore.spread import Crew, Resources, TaskDied, hired, spread
from dpbench.explore.training import (
    EnsembleSettings,
    MemberTask,
    TrainedMember,
    member_tasks,
    train_member,
)
from dpbench.frames import Frames
from dpbench.store.dataset import DatasetVersion, open_dataset
from dpbench.store.splits.filed import Split, find_split, save_split
from dpbench.store.splits.making import split_digest
from dpbench.store.workspace import Workspace

Index = NDArray[np.int64]
Progress = Callable[[str], None]

NO_LIMIT = 1e10
"""An upper trust level that no frame reaches, eV/Å."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Side:
    """Models to be trained on one subset."""

    side: str
    """``chosen``, ``random`` or ``full``."""
    frames: Index
    """(frame), indices in the version."""
    members: tuple[int, ...]
    """Numbers of the models, unique at this size: they decide the seeds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bench:
    """What every training of a simplification shares."""

    shadow: Workspace
    version: DatasetVersion
    """In the shadow."""
    material: Material
    settings: SimplifySettings
    folder: Path
    base: Path
    resources: Resources
    crew: Crew
    say: Progress
    points: list[Point] = field(default_factory=list)
    """All models so far."""


def simplify(
    workspace: Workspace,
    material: Material,
    settings: SimplifySettings,
    *,
    name: str,
    folder: Path,
    base: Path,
    resources: Resources,
    progress: Progress | None = None,
) -> Simplified:
    """Choose a subset, say what it is worth, and file it as a split.

    The same call on what another has left goes on: models that are finished are read.

    Args:
        workspace: Where the dataset is.
        material: The dataset, what is chosen from, what is measured on.
        settings: How.
        name: What the split shall be called.
        folder: Takes models and their workspace.
        base: Folder that the training configuration is relative to.
        resources: Where models are trained.
        progress: Told a few words now and then.

    Raises:
        ConfigError: If there are not more frames than wanted.
        TrainingError: If a model cannot be trained.
    """
    sizes = settings.sizes(len(material.pool_frames))
    shadow = shadow_of(workspace, folder / "workspace")
    with hired(resources) as crew:
        bench = _Bench(
            shadow=shadow,
            version=open_dataset(shadow, material.version.label),
            material=material,
            settings=settings,
            folder=folder,
            base=base,
            resources=resources,
            crew=crew,
            say=progress or _silent,
        )
        subset, rounds, ended = _grow(bench, sizes)
        if settings.is_full:
            everything = _Side(side=FULL, frames=material.pool_frames, members=(0,))
            _train(bench, len(sizes), [everything])
    split = file_subset(material, subset, settings, name=name)
    return _told(
        bench, subset, rounds=tuple(rounds), split=split.digest, name=name, ended=ended
    )


def _told(bench: _Bench, subset: Index, **more: Any) -> Simplified:
    """Put together what came of it."""
    material = bench.material
    return Simplified(
        dataset=material.version.label,
        digest=material.version.digest,
        pool=material.pool,
        test=material.test,
        pool_frames=len(material.pool_frames),
        test_frames=len(material.test_frames),
        frames=tuple(subset.tolist()),
        settings=bench.settings,
        points=tuple(bench.points),
        cpu_seconds=round(sum(point.cpu_seconds for point in bench.points), 1),
        **more,
    )


def _silent(words: str) -> None:
    """Say nothing."""


def _grow(bench: _Bench, sizes: Sequence[int]) -> tuple[Index, list[Round], str]:
    """Grow the subset from size to size; return it, its growth, and why it ended."""
    pool = bench.material.pool_frames
    frames = bench.material.version.read(pool)
    by_models = bench.settings.method == "deviation"
    # Positions in the pool, in the order of choice.
    taken = _most_different(frames, sizes[0] if by_models else sizes[-1])
    rounds: list[Round] = []
    for number, size in enumerate(sizes):
        here = taken[:size]
        models = _compared(bench, number, pool[here])
        if not by_models or number + 1 == len(sizes):
            continue
        rest = np.setdiff1d(np.arange(len(pool)), here)
        picked, told = _next(
            bench, models, frames, (here, rest), sizes[number + 1] - size
        )
        rounds.append(told)
        if not len(picked):
            return (
                pool[here],
                rounds,
                (
                    f"complete with {len(here)} frames: of the {len(rest)} others none "
                    "is a candidate and new"
                ),
            )
        taken = np.concatenate([here, rest[picked]])
    ended = (
        ""
        if len(taken) >= sizes[-1]
        else (f"complete with {len(taken)} frames: the others are the same structures")
    )
    return pool[taken], rounds, ended


def _most_different(frames: Frames, count: int) -> Index:
    """Return the frames that differ most from each other, in the order of choice."""
    settings = SelectSettings(
        rule="adaptive",
        force=(0.0, NO_LIMIT),
        adaptive_force=frames.nframes,
        most=count,
    )
    alike = np.zeros(frames.nframes)
    table = table_of(np.arange(frames.nframes), {"max_devi_f": alike}, [])
    return choose(judge(table, settings), frames, settings=settings).indices


def _next(
    bench: _Bench,
    models: Sequence[Path],
    frames: Frames,
    parts: tuple[Index, Index],
    count: int,
) -> tuple[Index, Round]:
    """Choose among the rest what the models disagree about.

    Args:
        bench: What is shared.
        models: Trained on what is chosen.
        frames: The pool.
        parts: Positions in it that are chosen, and the rest.
        count: How many to choose.

    Returns:
        Positions in the rest, and what became of all of it.
    """
    here, rest = parts
    others = frames.select(rest)
    settings = bench.settings.selection(count)
    table = deviations(models, others)
    bench.say(f"{len(here)} frames chosen; {len(rest)} others judged")
    chosen = choose(
        judge(table, settings),
        others,
        settings=settings,
        known=frames.select(here),
        seed=bench.settings.seed,
    )
    known = table.max_devi_f[np.isfinite(table.max_devi_f)]
    spread_of = np.percentile(known, [50, 95, 100]) if len(known) else [np.nan] * 3
    low, high, most = (float(value) for value in spread_of)
    return chosen.indices, Round(
        size=len(here), counts=chosen.counts, max_devi_f=(low, high, most)
    )


def _compared(bench: _Bench, number: int, subset: Index) -> list[Path]:
    """Train the ensemble on the subset, and models on as many frames at random."""
    settings, pool = bench.settings, bench.material.pool_frames
    sides = [
        _Side(side=CHOSEN, frames=subset, members=tuple(range(settings.models))),
        *(
            _Side(
                side=RANDOM,
                frames=np.random.default_rng([settings.seed, control]).permutation(
                    pool
                )[: len(subset)],
                members=(settings.models + control,),
            )
            for control in range(settings.controls)
        ),
    ]
    return _train(bench, number, sides)[: settings.models]


def _train(bench: _Bench, number: int, sides: Sequence[_Side]) -> list[Path]:
    """Train models, measure them, and return their files in order."""
    tasks = [
        (side, member, _task(bench, number, side, member))
        for side in sides
        for member in side.members
    ]
    trained: dict[int, TrainedMember] = {}
    for position, result in spread(
        train_member,
        [task for _, _, task in tasks],
        resources=bench.resources,
        crew=bench.crew,
    ):
        if isinstance(result, TaskDied):
            raise TrainingError(f"{tasks[position][2].folder}: {result.reason}")
        trained[position] = result
        bench.say(
            f"{len(sides[0].frames)} frames: {len(trained)} of {len(tasks)} models"
        )
    for position, (side, member, _) in enumerate(tasks):
        errors = errors_of(
            trained[position].path, bench.material.version, bench.material.test_frames
        )
        bench.points.append(
            Point(
                side=side.side,
                size=len(side.frames),
                member=member,
                rmse_f=_or_nan(errors.rmse_f),
                p95_f=_or_nan(errors.p95_f),
                rmse_e=_or_nan(errors.rmse_e),
                cpu_seconds=trained[position].cpu_seconds,
            )
        )
    return [trained[position].path for position in range(len(tasks))]


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _task(bench: _Bench, number: int, side: _Side, member: int) -> MemberTask:
    """Plan one model; its seed depends on its number and that of the round."""
    settings = bench.settings
    planned = member_tasks(
        EnsembleSettings(
            models=member + 1,
            steps=settings.steps,
            config=settings.config,
            reuse=False,
            validation=0.0,
        ),
        workspace=bench.shadow.root,
        dataset=bench.version.label,
        split=_filed(bench.version, side.frames),
        folder=bench.folder / "models",
        iteration=number,
        seed=settings.seed,
        base=bench.base,
        elements=bench.version.symbols,
        threads=bench.resources.threads,
    )[member]
    place = f"{number:03d}-{side.side}-{member:03d}"
    return replace(planned, folder=bench.folder / "models" / place)


def _filed(version: DatasetVersion, frames: Index) -> str:
    """File a split of one part in the shadow; return its digest."""
    parts = {"train": np.sort(frames)}
    digest = split_digest(version, parts)
    if find_split(version, digest) is None:
        save_split(
            version,
            Split(
                digest=digest,
                dataset_digest=version.digest,
                strategy="simplify",
                seed=0,
                parameters={},
                parts=parts,
            ),
        )
    return digest
