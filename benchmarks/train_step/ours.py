"""A side that is dpbench's own trainer, told from the same ``input.json``.

The loop, its batches and its prefetch thread are those of ``dpbench train``; the only
change is a hook where the loop asks for the next batch. Validation lies beyond the end.
The first epoch is made ready beforehand: in it each frame is searched for neighbours
once, and never again; what that costs a frame is told beside the steps. So is the
engine, as the loop's own steps name it, not as it was asked for.
"""

import importlib.metadata
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.turns.side import Turns, argument

WARM_UP = 6
STEPS = 10**7


def main() -> None:
    import torch

    torch.set_num_threads(argument("threads"))
    session = prepare(Path(argument("input")), argument("engine"))
    first_epoch = prepare_frames(session)
    told = {
        "first_epoch_ms_per_frame": first_epoch,
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("dpbench", "torch", "numba")
        },
    }
    run(session, Turns(argument("steps"), warm_up=WARM_UP, told=told), told)


def prepare(settings: Path, engine: str | None) -> Any:
    """Set up the run as ``dpbench train --config input.json`` does."""
    import torch

    from dpbench.store.workspace import Workspace
    from dpbench.train.config import resolved
    from dpbench.train.input_json import read_input_json
    from dpbench.train.session import begin
    from dpbench.train.systems import ingest_systems

    root = settings.parent / f"workspace-{engine}"
    shutil.rmtree(root, ignore_errors=True)
    workspace = Workspace.find(root, create=True)
    found = read_input_json(settings)
    dataset, split = ingest_systems(workspace, found, settings)
    changes = {} if engine is None else {"engine": engine}
    return begin(
        workspace,
        resolved(found.config, split=split, **changes),
        dataset=dataset,
        device=torch.device("cpu"),
        command=(),
    )


def prepare_frames(session: Any) -> float:
    """Make all batches of an epoch; return CPU milliseconds per frame."""
    count = session.provenance["split"]["parts"]["train"]
    began, seen = time.process_time(), 0
    for step in range(count):
        seen += session.make_batch(step).nframes
        if seen >= count:
            break
    return 1e3 * (time.process_time() - began) / max(seen, 1)


def run(session: Any, turns: Turns, told: dict[str, Any]) -> None:
    """Run the loop of ``dpbench train``; it ends with the process.

    Args:
        session: What ``begin`` set up.
        turns: Told where a step begins.
        told: Gets the engine that makes the steps, its pieces of a table, and kernels.
    """
    from dpbench.kernels.choice import kernels_in_use
    from dpbench.train.loader import prefetch
    from dpbench.train.loop import Hooks, LoopState, Plan, run_loop
    from dpbench.train.progress import Silent

    def ticking() -> Iterator[Any]:
        for batch in prefetch(session.make_batch, 0, session.plan.steps):
            told["kernels"] = kernels_in_use()
            turns.tick()
            yield batch

    run_loop(
        session.model,
        session.optimiser,
        session.schedule,
        ticking(),
        plan=Plan(steps=STEPS, validation_every=STEPS, checkpoint_every=STEPS),
        state=LoopState(),
        hooks=Hooks(
            validate=session.validate, save=lambda state: None, watcher=Silent()
        ),
        engine=telling(session.engine, told),
    )


def telling(engine: Any, told: dict[str, Any]) -> Any:
    """Return the engine, but each of its steps writes into ``told`` what made it."""
    from dpbench.train.engine import Engine, StepResult

    class Telling(Engine):
        def losses_and_gradients(
            self, *given: Any, **named: Any
        ) -> StepResult:  # as it is while the loop runs: tables may have become finer
            told["engine"] = self.name
            told["table_intervals"] = (
                self.intervals if self.name.endswith("table") else None
            )
            return Engine.losses_and_gradients(self, *given, **named)

    return Telling(name=engine.name, reason=engine.reason, intervals=engine.intervals)


if __name__ == "__main__":
    main()
