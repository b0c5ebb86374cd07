"""Measuring units on the workers of a Dask cluster that runs already.

A unit whose worker dies runs again on another. Workers measure; this process alone
files records. Units that read the clock run one after the other, when the others are
done: two timings on one machine would slow each other.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from distributed import Client, Future, KilledWorker, as_completed

from dpbench.errors import BackendCrashed, DpbenchError, EvaluationError
from dpbench.eval.fingerprint import hardware_fingerprint
from dpbench.eval.record import Record
from dpbench.eval.suites.measuring import failed, measure_one
from dpbench.eval.suites.units import Unit
from dpbench.io.ingest_cluster import check_reach, connect
from dpbench.store.workspace import Workspace

FOLDER = "suites"
"""Of the workspace: what workers must see."""


@contextlib.contextmanager
def connected(scheduler: str, workspace: Workspace) -> Iterator[Client]:
    """Connect to a cluster whose workers see the workspace.

    Raises:
        ConfigError: If it cannot be reached, has no worker, or runs other versions.
        WorkspaceError: If a worker does not see the workspace.
    """
    client = connect(scheduler)
    try:
        folder = workspace.root / FOLDER
        folder.mkdir(exist_ok=True)
        check_reach(client, folder)
        yield client
    finally:
        client.close()


def hardware_of(client: Client, device: str) -> tuple[str, ...]:
    """Name the classes of hardware of the workers.

    Args:
        client: The cluster.
        device: Torch's name of the device that the models run on.
    """
    found: Mapping[str, str] = client.run(_hardware, device)
    return tuple(sorted(set(found.values())))


def spread_units(
    client: Client, workspace: Workspace, units: Sequence[Unit], *, is_only: bool
) -> Iterator[tuple[Unit, Record]]:
    """Measure units on the workers; records come as they are done.

    Args:
        client: The cluster.
        workspace: Seen by all workers.
        units: Of any models and backends.
        is_only: Whether they are of one model and backend; of several, one that cannot
            be opened has records that say so.

    Raises:
        DpbenchError: As the only model or backend raises it.
    """
    root = workspace.root.resolve()
    together = [unit for unit in units if not unit.is_timed]
    waiting = {_submit(client, root, unit): unit for unit in together}
    for future in as_completed(list(waiting)):
        unit = waiting.pop(future)
        yield unit, _record(workspace, unit, future, is_only=is_only)
    for unit in units:
        if unit.is_timed:
            future = _submit(client, root, unit)
            yield unit, _record(workspace, unit, future, is_only=is_only)


def _submit(client: Client, root: Path, unit: Unit) -> "Future[Record]":
    future: Future[Record] = client.submit(_measure, root, unit, pure=False)
    return future


def _measure(root: Path, unit: Unit) -> Record:
    """Measure on a worker; the folder that it was started in is not ours."""
    if not unit.model.is_file():
        raise EvaluationError(
            f"{unit.model}: the Dask worker on {os.uname().nodename} does not see it; "
            "expected a file system that all nodes share."
        )
    return measure_one(root, unit)


def _record(
    workspace: Workspace, unit: Unit, future: "Future[Record]", *, is_only: bool
) -> Record:
    error = future.exception()
    if isinstance(error, KilledWorker):
        words = (
            f"{unit.backend}: the Dask workers that measured it died, one after the "
            "other; expected them to live. Measure it on this machine, without "
            "--scheduler, to see why."
        )
        return failed(workspace, unit, BackendCrashed(words))
    if isinstance(error, DpbenchError) and not is_only:
        return failed(workspace, unit, error)
    if error is not None:
        raise error
    record = future.result()
    future.release()
    return record


def _hardware(device: str) -> str:
    return hardware_fingerprint(device=device).id
