"""Jobs of foreign backends that need no open model: conversion, training, surveys."""

import logging
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dpbench.backends.launch import Launch
from dpbench.backends.sandbox import companions, is_confined
from dpbench.backends.trust import Trust, data_of
from dpbench.backends.worker_process import Say, WorkerProcess

START_SECONDS = 300.0
"""How long a worker may take to start, and again to open a model: TensorFlow from a
cold disk takes a minute."""

logger = logging.getLogger(__name__)

TASK_SECONDS = 600.0
"""How long a job may take, unless the caller says otherwise."""


def run_task(
    launch: Launch,
    name: str,
    arguments: Mapping[str, Any],
    *,
    files: Iterable[Path] = (),
    models: Iterable[Path] = (),
    trust: Trust | None = None,
    scratch: Path | None = None,
    timeout_s: float = TASK_SECONDS,
    memory_limit: int | None = None,
    say: Say | None = None,
) -> dict[str, Any]:
    """Have a backend do a job without an open model, e.g. convert or train.

    Args:
        launch: How the backend is started.
        name: Of the job, as the adapter's ``task`` knows it.
        arguments: What JSON can say; paths as text, absolute and without links.
        files: Data that the job reads.
        models: Models that the job reads; a program must be trusted.
        trust: Which programs may be opened; None = none.
        scratch: Folder that the job may write and that stays; None = one that is
            removed afterwards.
        timeout_s: How long the job may take, s.
        memory_limit: Bytes that the worker may hold; None = four fifths of all.
        say: Called with each line that the job prints.

    Returns:
        What the adapter's ``task`` returned.

    Raises:
        BackendError: If the job failed, was refused, crashed or took too long.
    """
    confined = is_confined()
    named = tuple(models)
    read = [*files, *(path for model in named for path in companions(model))]
    for model in named:
        data = data_of(launch, model, arguments)
        (trust or Trust()).check(model, is_confined=confined, data=data)
    with tempfile.TemporaryDirectory(prefix="dpbench-task-") as folder:
        worker = WorkerProcess(
            launch,
            scratch=(scratch or Path(folder)).resolve(),
            readable=read,
            memory_limit=memory_limit,
            is_confined=confined,
        )
        try:
            return _done(worker, name, arguments, timeout_s=timeout_s, say=say)
        finally:
            worker.close()
            if scratch is not None:
                sweep(scratch)


def sweep(folder: Path) -> list[Path]:
    """Remove what a program may have left to lead its reader astray.

    A link that points out of the folder would have dpbench read or write elsewhere, a
    named pipe would have it wait for ever. Call it when the program has ended.

    Args:
        folder: That the program could write.

    Returns:
        What was removed.
    """
    removed = []
    root = folder.resolve()
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            is_fine = path.resolve().is_relative_to(root)
        else:
            is_fine = path.is_file() or path.is_dir()
        if not is_fine:
            path.unlink(missing_ok=True)
            removed.append(path)
            logger.warning(
                "%s: was removed; a foreign program left a link that leads out of its "
                "folder, or no regular file",
                path,
            )
    return removed


def _done(
    worker: WorkerProcess,
    name: str,
    arguments: Mapping[str, Any],
    *,
    timeout_s: float,
    say: Say | None,
) -> dict[str, Any]:
    """Start the worker and have it do the job."""
    worker.start(timeout_s=START_SECONDS)
    content = worker.ask(
        {"do": "task", "name": name, "arguments": dict(arguments)},
        timeout_s=timeout_s,
        doing=f"did task '{name}'",
        say=say,
    )
    result = content.get("result")
    if not isinstance(result, dict):
        raise worker.liar(f"the result of task '{name}' as no object")
    return result
