"""A loop that kills itself at planned points, one process each, and one that does not.

Run as ``python -m tests.explore.loop.killed FOLDER``. Everything is imported once, and
each call of the loop is a fork of this process, which has one thread.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dpbench.explore import loop, session, stage_results
from dpbench.explore.stages import (
    assessing,
    exploring,
    ingesting,
    labelling,
    selecting,
    start,
    training,
)
from dpbench.store.workspace import Workspace
from tests.explore.loop.small import LOG, small_config

Plan = tuple[str, str]
"""``("task", stage)``: after the first task of a stage that was not done before;
``("before", stage)`` and ``("after", stage)`` the result of a stage is written."""

WRITERS = (loop, start, training, exploring, selecting, labelling, ingesting, assessing)
"""Modules that write results."""

PLANS: tuple[Plan, ...] = (
    ("task", "label"),
    ("before", "ingest"),
    ("task", "train"),
    ("after", "train"),
    ("task", "explore"),
    ("before", "explore"),
    ("before", "select"),
    ("task", "label"),
    ("before", "label"),
    ("before", "ingest"),
    ("before", "assess"),
)
"""In this order they come in a loop that starts anew."""


def main(folder: Path) -> None:
    """Run the loop that is killed to its end, then one that is not."""
    deaths = 0
    for plan in PLANS:
        deaths += _forked(folder, "killed", plan) == -signal.SIGKILL
    endings = [_forked(folder, name, None) for name in ("killed", "whole")]
    print(json.dumps({"planned": len(PLANS), "deaths": deaths, "endings": endings}))


def _forked(folder: Path, name: str, plan: Plan | None) -> int:
    """Run the loop in a process of its own; return how it ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        if plan is not None:
            _plant(plan)
        base = folder / name
        os.environ[LOG] = str(folder / f"{name}.log")
        workspace = Workspace.find(base / "workspace", create=True)
        config = small_config(base, stop={"iterations": 1})
        loop.run(workspace, config, base=base)
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def _plant(plan: Plan) -> None:
    """Let this process kill itself at a point."""
    when, stage = plan
    if when == "task":
        _after_first_task(stage)
        return
    real = stage_results.write_result

    def write(folder: Path, name: str, result: Any, **noted: Any) -> None:
        if name == stage and when == "before":
            _die()
        real(folder, name, result, **noted)
        if name == stage:
            _die()

    for module in WRITERS:
        if hasattr(module, "write_result"):
            module.write_result = write


def _after_first_task(stage: str) -> None:
    real: Callable[..., Any] = session.Session.do

    def do(self: Any, function: Any, tasks: Any, **kwargs: Any) -> Any:
        if kwargs["stage"] == stage:
            function(tasks[0])
            _die()
        return real(self, function, tasks, **kwargs)

    session.Session.do = do  # type: ignore[method-assign]


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
