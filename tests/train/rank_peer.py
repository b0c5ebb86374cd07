"""One of several processes that train together; started by test_ranks.py.

    python rank_peer.py KIND WORKSPACE OUT [RUN]

KIND is ``train``, ``resume`` (the run RUN), ``stop`` (rank 1 is asked to stop after
step 7), or ``die`` (rank 1 ends without a word at step 7).
"""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from dpbench.errors import DpbenchError
from dpbench.store.workspace import Workspace
from dpbench.train.optimisers.config import OptimiserConfig
from dpbench.train.pipeline import Pipeline
from dpbench.train.ranks import joined
from dpbench.train.run import train
from tests.train.small_runs import small_config

LENGTH = {"steps": 20, "batch_size": 5, "checkpoint_every": 4, "keep_checkpoints": 9}


def at_step(step: int, act) -> None:
    """Call ``act`` when the batch of a step is made."""
    plain = Pipeline.make_batch

    def make_batch(self, number):
        if number == step:
            act()
        return plain(self, number)

    Pipeline.make_batch = make_batch


def main(kind: str, workspace: str, out: str, run: str | None = None) -> None:
    """Train, resume, stop or die."""
    with joined(os.environ, on_cuda=False) as ranks:
        is_second = ranks.place.rank == 1
        if kind == "die" and is_second:
            at_step(7, lambda: os._exit(9))
        if kind == "stop" and is_second:
            at_step(7, lambda: os.kill(os.getpid(), signal.SIGTERM))
        # SOAP would blow up the rounding of a sum that is made in another order.
        config = replace(small_config(**LENGTH), optimiser=OptimiserConfig(type="adam"))
        report = train(
            Workspace.find(Path(workspace)),
            None if run else config,
            dataset=None if run else "pairs",
            out=Path(out),
            resume=run,
            device="cpu",
            ranks=ranks,
        )
        if ranks.is_first:
            print(report.run_folder)
            print(report.steps, report.interrupted)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except DpbenchError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from error
