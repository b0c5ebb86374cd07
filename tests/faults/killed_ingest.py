"""An ingest that notes each stage it enters, and kills itself where it is told to.

``python -m tests.faults.killed_ingest WORKSPACE LOG STAGE CALL PATH...``: SIGKILL at
the CALL-th entry of STAGE; STAGE ``none`` never kills, so that the caller may.
"""

import importlib
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

STAGES = {
    "hash": "dpbench.io.ingest:plan_sources",
    "parse": "dpbench.io.ingest_task:read_source",
    "segment": "dpbench.store.segment.write:_write_group",
    "facts": "dpbench.store.segment.write:_write_facts",
    "manifest": "dpbench.store.segment.write:_write_manifest",
    "seal": "dpbench.store.segment.write:move_into_place",
    "lock": "dpbench.store.versions:catch_up",
    "publish": "dpbench.store.staging:move_into_place",
    "object": "dpbench.store.objects:write_atomically",
    "reference": "dpbench.store.objects:write_exclusively",
    "index": "dpbench.store.versions:index_version",
    "commit": "sqlalchemy.engine.base:Connection._commit_impl",
    "clean-up": "dpbench.store.staging:remove_tree",
}
"""Named steps of an ingest and the function that each begins with, in their order."""


def main(workspace: str, log: str, stage: str, call: str, *paths: str) -> int:
    """Run the ingest in this process."""
    calls: Counter[str] = Counter()
    notes = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def staged(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            os.write(notes, f"{name}\n".encode())
            if name == stage and calls[name] == int(call):
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return wrapped

    for name, where in STAGES.items():
        module, _, path = where.partition(":")
        owner: Any = importlib.import_module(module)
        *parents, attribute = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        setattr(owner, attribute, staged(name, getattr(owner, attribute)))
    from dpbench.cli.__main__ import main as dpbench

    os.write(notes, b"start\n")
    # --workers 0: the stages of the readers happen in this process, to be killed there
    command = ["ingest", "qe", *paths, "--dataset", "d", "--workers", "0"]
    code = dpbench(["--workspace", workspace, *command])
    os.write(notes, b"end\n")
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
