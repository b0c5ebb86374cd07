"""Stage ``select``: which explored frames are labelled, and whether to go on."""

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import EvaluationError, ModelError
from dpbench.explore.frame_files import load_frames, save_frames
from dpbench.explore.journal import Iteration, iterations_of
from dpbench.explore.sampling.walks import Walk, read_walk
from dpbench.explore.select.choosing import Chosen, choose
from dpbench.explore.select.deviations import deviations
from dpbench.explore.select.judging import VERDICTS, Judged, judge
from dpbench.explore.select.settings import SelectSettings, TrustLevels
from dpbench.explore.select.table import DeviationTable, concatenate_tables
from dpbench.explore.session import Session
from dpbench.explore.spread import TaskDied
from dpbench.explore.stage_results import (
    ChosenFrame,
    ExploreResult,
    Histogram,
    SelectResult,
    write_result,
)
from dpbench.explore.stages.exploring import walks_folder
from dpbench.frames import Frames, concatenate
from dpbench.store.dataset import open_dataset

FRAMES: Final = "chosen.npz"
"""File of the frames that were chosen, in the folder of the stage."""

TASK_FRAMES: Final = 1024
"""Frames after which another task begins; fixed, so that the same frames pass through
the models together however many workers there are."""

BINS: Final = 45
"""Of a histogram of deviations: fifteen a decade."""

NO_LEVEL: Final = 1e10
"""Upper trust levels from here on are never reached: DP-GEN's way to say none."""

SPAN: Final = 1000.0
"""Last edge of a histogram over its first; smaller values count in the first bin."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviationTask:
    """Walks whose frames all models are asked about."""

    walks: tuple[Path, ...]
    """Their folders."""
    numbers: tuple[int, ...]
    """(walk), its number in the iteration."""
    models: tuple[Path, ...]
    """The ensemble."""
    settings: SelectSettings
    """How deviations are measured."""


def measure(task: DeviationTask) -> tuple[DeviationTable, float, str]:
    """Measure the deviations of the models on the frames of some walks.

    Returns:
        The table, the processor time it took, s, and what a model says of a frame that
        it refuses; empty if it refuses none.
    """
    refusals: list[ModelError] = []
    started = time.process_time()
    walks = [found for path in task.walks if (found := read_walk(path)) is not None]
    settings = task.settings
    counts = [walk.frames.nframes for walk in walks]
    table = deviations(
        task.models,
        concatenate([walk.frames for walk in walks]),
        relative=settings.relative,
        relative_virial=settings.relative_virial,
        relative_to_walk=settings.relative_to_walk,
        step=np.concatenate([walk.step for walk in walks]),
        walk=np.repeat(np.array(task.numbers, np.int64), counts),
        structure=np.repeat([walk.structure for walk in walks], counts),
        refusals=refusals,
    )
    said = str(refusals[0]) if refusals else ""
    return table, time.process_time() - started, said


def select(
    session: Session,
    iteration: Iteration,
    *,
    explored: ExploreResult,
    models: Sequence[Path],
    dataset: str,
) -> SelectResult:
    """Choose the frames to label, or read what was chosen.

    Args:
        session: At work.
        iteration: Which.
        explored: Its walks.
        models: Its models.
        dataset: ``NAME-vN``: all that is labelled.

    Raises:
        EvaluationError: If a walk is not there any more, or cannot be measured.
    """
    done = iteration.select
    if done is not None:
        return done
    began, started = time.perf_counter(), time.process_time()
    settings = session.config.select
    walks = _walks(iteration, explored)
    table, spent = _table(session, iteration, walks, models)
    judged = judge(table, settings)
    version = open_dataset(session.workspace, dataset)
    frames = concatenate([walk.frames for walk in walks.values()])
    chosen = choose(
        judged,
        frames,
        settings=settings,
        known=version.read(range(version.nframes)),
        tried=_tried(session),
        seed=_seed(session.config.seed, iteration.number),
    )
    folder = iteration.folder / "select"
    save_frames(folder / FRAMES, chosen.frames, index=chosen.indices)
    names = [summary.name for summary in explored.walks]
    result = SelectResult(
        stage=explored.stage,
        counts=judged.counts,
        levels=_finite_levels(judged.levels),
        max_devi_f=_histogram(table.max_devi_f, judged, "force"),
        max_devi_v=_histogram(table.max_devi_v, judged, "virial"),
        chosen=_chosen(chosen, table, names),
        rejected={why: n for why, n in chosen.counts.items() if why != "chosen"},
        cpu_seconds=round(spent + time.process_time() - started, 3),
        wall_seconds=round(time.perf_counter() - began, 3),
        by_walk=_by_walk(judged, names),
        rescued=chosen.rescued,
    )
    write_result(iteration.folder, "select", result, config=session.digest)
    return result


def chosen_frames(iteration: Iteration) -> Frames:
    """Read the frames that were chosen, in the order of labelling."""
    return load_frames(iteration.folder / "select" / FRAMES)[0]


def _walks(iteration: Iteration, explored: ExploreResult) -> dict[int, Walk]:
    """Read the walks that gave frames: {number in the iteration: walk}."""
    folder = walks_folder(iteration)
    found: dict[int, Walk] = {}
    for number, summary in enumerate(explored.walks):
        if summary.nframes:
            walk = read_walk(folder / summary.name)
            if walk is None:
                raise EvaluationError(
                    f"{folder / summary.name}: has no walk; expected the one that "
                    f"{iteration.folder / 'explore.json'} tells of. Remove that file: "
                    "the same command makes the walk again."
                )
            found[number] = walk
    return found


def _table(
    session: Session,
    iteration: Iteration,
    walks: dict[int, Walk],
    models: Sequence[Path],
) -> tuple[DeviationTable, float]:
    """Measure all deviations, in the order of the walks, and the time it took."""
    folder = walks_folder(iteration)
    tasks = [
        DeviationTask(
            walks=tuple(folder / walks[number].name for number in group),
            numbers=tuple(group),
            models=tuple(models),
            settings=session.config.select,
        )
        for group in _groups(walks)
    ]
    found = session.do(measure, tasks, iteration=iteration.number, stage="select")
    tables, spent, refused = [], 0.0, ""
    for one in found:
        if isinstance(one, TaskDied):
            raise EvaluationError(
                f"{iteration.folder}: the deviations of the models could not be "
                f"measured: {one.reason}. Mend what is said, and start the same "
                "command again."
            )
        tables.append(one[0])
        spent += one[1]
        refused = refused or one[2]
    table = concatenate_tables(tables)
    if refused and np.isnan(table.max_devi_f).all():
        raise EvaluationError(
            f"{iteration.folder}: the models refuse every explored frame; expected "
            f"some that they know: {refused}"
        )
    return table, spent


def _groups(walks: dict[int, Walk]) -> Iterator[list[int]]:
    """Put whole walks together until there are frames enough."""
    group: list[int] = []
    size = 0
    for number, walk in walks.items():
        group.append(number)
        size += walk.frames.nframes
        if size >= TASK_FRAMES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _tried(session: Session) -> Frames | None:
    """Return the frames of earlier iterations that could not be labelled.

    Those that were let be tried again since, whose label is gone, are not among them.
    """
    found = []
    for iteration in iterations_of(session.root):
        label = iteration.label
        if label is None or not label.quarantined:
            continue
        select = iteration.select
        lost = {
            (one.walk, one.step, one.atom)
            for one in label.quarantined
            if (session.labels / one.key).is_dir()
        }
        rows = [
            row
            for row, one in enumerate(select.chosen if select else ())
            if (one.walk, one.step, one.atom) in lost
        ]
        found.append(chosen_frames(iteration).select(rows))
    return concatenate(found) if found else None


def _chosen(
    chosen: Chosen, table: DeviationTable, names: Sequence[str]
) -> tuple[ChosenFrame, ...]:
    atoms = [None] * len(chosen.indices) if chosen.atoms is None else chosen.atoms
    return tuple(
        ChosenFrame(
            walk=names[int(table.walk[index])],
            step=int(table.step[index]),
            max_devi_f=float(table.max_devi_f[index]),
            atom=None if atom is None else int(atom),
            distance=float(gap) if math.isfinite(gap) else None,
        )
        for index, atom, gap in zip(
            chosen.indices.tolist(), atoms, chosen.distance.tolist(), strict=True
        )
    )


def _by_walk(judged: Judged, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count the verdicts of each walk that gave frames."""
    found: dict[str, dict[str, int]] = {}
    for number in np.unique(judged.table.walk).tolist():
        counts = Counter(judged.verdict[judged.table.walk == number].tolist())
        found[names[number]] = {name: counts[name] for name in VERDICTS}
    return found


def _histogram(values: NDArray[np.float64], judged: Judged, name: str) -> Histogram:
    """Count deviations up to twice the highest upper trust level, or the largest.

    Edges that follow the levels alone let iterations be compared.
    """
    known = values[np.isfinite(values)]
    upper = [
        level[1]
        for levels in judged.levels.values()
        if (level := getattr(levels, name)) is not None and level[1] < NO_LEVEL
    ]
    top = 2 * max(upper) if upper else float(known.max(initial=0.0))
    top = top if top > 0 else 1.0
    edges = np.geomspace(top / SPAN, top, BINS + 1)
    counts, _ = np.histogram(np.maximum(known, edges[0]), bins=edges)
    return Histogram(
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        beyond=int((known > edges[-1]).sum()),
    )


def _finite_levels(levels: dict[str, TrustLevels]) -> dict[str, TrustLevels]:
    """Leave out levels that are infinite: JSON has no such number."""

    def finite(level: tuple[float, float] | None) -> tuple[float, float] | None:
        return level if level is not None and all(map(math.isfinite, level)) else None

    return {
        name: replace(one, virial=finite(one.virial), energy=finite(one.energy))
        for name, one in levels.items()
    }


def _seed(seed: int, iteration: int) -> int:
    """Derive the seed of an iteration's choice."""
    return int(np.random.SeedSequence([seed, iteration, 2]).generate_state(1)[0])
