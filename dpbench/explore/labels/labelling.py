"""Labels of many frames: tasks that any worker can do, and that are never done twice.

The folder of a label is named by the digest of its frame and of all that decides the
label (``Driver.identity``). What lies there is read and not computed: across
iterations, explorations that share a folder, and after a crash.
"""

import hashlib
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpbench.config import canonical_json
from dpbench.errors import DatasetError
from dpbench.explore.labels.driver import (
    Driver,
    Finding,
    JobResources,
    LabelError,
    Trouble,
)
from dpbench.explore.labels.job import Run, keep_run, read_run
from dpbench.explore.labels.label_files import (
    LABEL_FILE,
    Attempt,
    Labelled,
    attempt_folder,
    read_attempt,
    read_label,
    write_attempt,
    write_label,
)
from dpbench.explore.labels.remedies import MORE_TIME
from dpbench.explore.labels.settings import LabelSettings
from dpbench.explore.labels.table import driver_of
from dpbench.explore.labels.verify import verify
from dpbench.frames import Frames
from dpbench.store.digests import structure_digests
from dpbench.store.files import remove_tree

RUNNING = "running"
"""Begin of the names of folders in which runs are under way, or were left."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelTask:
    """One frame to label."""

    key: str
    """Digest of the frame and of the driver's identity."""
    frame: Frames
    """The frame."""
    indices: tuple[int, ...]
    """Where it stands among the frames that were given; equal ones are one task."""
    settings: LabelSettings
    """How."""
    folder: Path
    """``labels/<key>``."""


def label_tasks(
    frames: Frames, settings: LabelSettings, *, folder: Path
) -> tuple[LabelTask, ...]:
    """Make one task for each different frame.

    Args:
        frames: What is to be labelled.
        settings: With absolute paths (``LabelSettings.resolved``).
        folder: ``labels`` of the exploration.

    Returns:
        The tasks in the order of the frames; those done before among them, which cost
        nothing.

    Raises:
        ConfigError: If the driver cannot label all frames, or is not there.
    """
    driver = driver_of(settings)
    driver.check_frames(frames)
    keys = label_keys(frames, driver)
    places: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        places.setdefault(key, []).append(index)
    return tuple(
        LabelTask(
            key=key,
            frame=frames.select([indices[0]]),
            indices=tuple(indices),
            settings=settings,
            folder=folder.absolute() / key,
        )
        for key, indices in places.items()
    )


def label_keys(frames: Frames, driver: Driver) -> tuple[str, ...]:
    """Name the label of every frame by what decides it."""
    identity = driver.identity()
    keys = []
    for row in structure_digests(frames):
        payload = {"frame": row.tobytes().hex(), "label": identity}
        keys.append(hashlib.sha256(canonical_json(payload)).hexdigest())
    return tuple(keys)


def label(task: LabelTask) -> Labelled:
    """Label one frame, with remedies where they are needed; or read the label.

    Returns:
        The label, or why there is none: a frame that cannot be labelled is no error.

    Raises:
        ConfigError: If the program is not there.
        WorkspaceError: If the folder cannot be written.
    """
    known = read_label(task.folder)
    if known is not None and not _may_try_again(known, task.settings):
        return known
    driver = driver_of(task.settings)
    if known is not None:
        _drop_late_attempts(task, known)
    done: list[Attempt] = []
    tried: tuple[str, ...] = ()
    while True:
        where = attempt_folder(task.folder, len(done))
        attempt = read_attempt(where)
        if attempt is not None and attempt.finding.ok and _is_torn(driver, where):
            remove_tree(where)
            attempt = None
        if attempt is None:
            attempt = _attempt(task, driver, len(done), tried)
        done.append(attempt)
        remedy = attempt.finding.remedy
        is_over = remedy is None or len(done) >= task.settings.attempts
        if attempt.finding.ok or is_over:
            break
        tried = (*attempt.remedies, str(remedy))
    finding = done[-1].finding
    result = Labelled(
        key=task.key,
        status="done" if finding.ok else "quarantined",
        reason=finding.reason,
        trouble=finding.trouble,
        attempts=len(done),
        remedies=done[-1].remedies,
        outputs=driver.outputs(where) if finding.ok else (),
        cpu_seconds=round(sum(one.cpu_seconds for one in done), 3),
        wall_seconds=round(sum(one.wall_seconds for one in done), 3),
        theory=done[-1].theory,
        allowed=_allowed(task.settings),
    )
    write_label(task.folder, result)
    for left in task.folder.glob(f"{RUNNING}.*"):
        remove_tree(left)
    return result


def lost(task: LabelTask, reason: str) -> Labelled:
    """Quarantine a frame whose worker died with it.

    Args:
        task: What the worker did.
        reason: How it ended.
    """
    result = Labelled(
        key=task.key,
        status="quarantined",
        reason=reason,
        trouble=Trouble.DIED,
        attempts=1,
        remedies=(),
        outputs=(),
        cpu_seconds=0.0,
        wall_seconds=0.0,
        theory={},
        allowed=_allowed(task.settings),
    )
    task.folder.mkdir(parents=True, exist_ok=True)
    write_label(task.folder, result)
    return result


def forget_quarantined(folder: Path) -> int:
    """Let all quarantined labels be tried again from the start.

    Args:
        folder: ``labels`` of the exploration.

    Returns:
        How many there were.
    """
    count = 0
    for path in sorted(folder.glob(f"*/{LABEL_FILE}")):
        known = read_label(path.parent)
        if known is not None and known.status == "quarantined":
            remove_tree(path.parent)
            count += 1
    return count


def refuse_failures(
    labels: Sequence[Labelled], settings: LabelSettings, *, folder: Path
) -> None:
    """Check that no more labels failed than may: a share of them, or a single one.

    Args:
        labels: What came of all frames.
        settings: Say how many may fail.
        folder: ``labels`` of the exploration, for whoever looks for the reason.

    Raises:
        DatasetError: If more did, with the most frequent reason.
    """
    failed = [one for one in labels if one.status == "quarantined"]
    share = settings.ratio_failed
    # One of a handful says nothing of the inputs.
    allowed = max(share * len(labels), 1) if share else 0
    if len(failed) <= allowed:
        return
    reasons = [one.reason for one in failed]
    most = max(reasons, key=reasons.count)
    raise DatasetError(
        f"label: {len(failed)} of {len(labels)} frames are quarantined, most often: "
        f"{most}; expected at most label.ratio_failed = {settings.ratio_failed:g} of "
        f"them. Look into {folder / failed[0].key}, correct the inputs and start again "
        "with --retry, or raise that share."
    )


def _attempt(
    task: LabelTask, driver: Driver, number: int, tried: tuple[str, ...]
) -> Attempt:
    """Run the program once, unless its run ended before, and judge it."""
    folder = attempt_folder(task.folder, number)
    refusal = None
    if read_run(folder) is None:
        remove_tree(folder)
        _adopt(folder)
    if read_run(folder) is None:
        with _workplace(folder) as place:
            refusal = _run(task, driver, place, tried)
    finding = driver.check(folder, tried=tried) if refusal is None else refusal
    theory: dict[str, Any] = {}
    if finding.ok:
        outputs = driver.outputs(folder)
        limit = task.settings.max_force
        finding, theory = verify(task.frame, driver, outputs, max_force=limit)
    run = read_run(folder)
    attempt = Attempt(
        finding=finding,
        remedies=tried,
        theory=theory,
        cpu_seconds=run.cpu_seconds if run else 0.0,
        wall_seconds=run.wall_seconds if run else 0.0,
    )
    write_attempt(folder, attempt)
    return attempt


def _is_torn(driver: Driver, folder: Path) -> bool:
    """Whether an output of a good run was removed since."""
    return not all(path.exists() for path in driver.outputs(folder))


def _adopt(folder: Path) -> None:
    """Take a run that ended right before its loop was killed for the attempt."""
    for place in sorted(folder.parent.glob(f"{RUNNING}.*/{folder.name}")):
        if read_run(place) is not None:
            with suppress(OSError):
                place.rename(folder)


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """Give a folder of its own to a run, and put it at its place when the run ended.

    A loop that was killed may have left a run on a node that it cannot reach. That one
    works on in a folder of its own; the first that ends is the attempt.
    """
    own = folder.parent / f"{RUNNING}.{uuid.uuid4().hex}"
    place = own / folder.name  # of the same name: programs may print it
    place.mkdir(parents=True)
    yield place
    # not where the folder is there: the other run ended before this one
    with suppress(OSError):
        place.rename(folder)
    remove_tree(own)


def _run(
    task: LabelTask, driver: Driver, place: Path, tried: tuple[str, ...]
) -> Finding | None:
    """Write the input and run; return what came of it if the driver refuses."""
    times = 2 ** tried.count(MORE_TIME)
    resources = JobResources(
        threads=task.settings.threads, seconds=task.settings.timeout * times
    )
    number = int(place.suffix[1:])
    wall, cpu = time.monotonic(), time.process_time()
    try:
        driver.write(task.frame, place, attempt=number, remedies=tried)
        driver.run(place, attempt=number, resources=resources)
    except LabelError as error:
        return Finding(ok=False, reason=str(error), trouble=Trouble.REFUSED)
    if read_run(place) is None:  # it ran in this process
        run = Run(
            status=0,
            timed_out=False,
            cpu_seconds=round(time.process_time() - cpu, 3),
            wall_seconds=round(time.monotonic() - wall, 3),
            allowed_seconds=resources.seconds,
        )
        keep_run(place, run)
    return None


def _may_try_again(known: Labelled, settings: LabelSettings) -> bool:
    """Whether a quarantined label has more attempts, or more time, than it had."""
    if known.status == "done":
        return False
    allowed = _allowed(settings)
    more_attempts = allowed["attempts"] > max(known.attempts, known.allowed["attempts"])
    more_time = allowed["seconds"] > known.allowed["seconds"]
    return more_attempts or (more_time and known.trouble is Trouble.TIMED_OUT)


def _drop_late_attempts(task: LabelTask, known: Labelled) -> None:
    """Remove what ran out of less time than there is now, and what came after."""
    if task.settings.timeout <= known.allowed["seconds"]:
        return
    for number in range(known.attempts):
        attempt = read_attempt(attempt_folder(task.folder, number))
        if attempt is None or attempt.finding.trouble is Trouble.TIMED_OUT:
            for later in range(number, known.attempts):
                remove_tree(attempt_folder(task.folder, later))
            return


def _allowed(settings: LabelSettings) -> dict[str, float]:
    return {"attempts": settings.attempts, "seconds": settings.timeout}
