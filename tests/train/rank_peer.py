"""One of several processes that train together; started by test_ranks.py.

    python rank_peer.py KIND WORKSPACE OUT [RUN]

KIND is ``train``, ``resume`` (the run RUN), ``stop`` (rank 1 is asked to stop after
step 7), ``die`` (rank 1 ends without a word at step 7), ``budget`` (a time budget
decides the length; the clock of rank 1 runs 10000 times too fast), or ``drift`` (SOAP,
whose bases are a little off on rank 1; prints the last weights' digest).
"""

import hashlib
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from dpbench.errors import DpbenchError
from dpbench.store.workspace import Workspace
from dpbench.train import budget
from dpbench.train import run as front
from dpbench.train.optimisers.config import OptimiserConfig
from dpbench.train.optimisers.soap import Soap
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


def hasten_clock() -> None:
    """Let the clock that times the first steps run too fast."""
    fast = SimpleNamespace(
        perf_counter=lambda: 1e4 * time.perf_counter(),
        process_time=lambda: 1e4 * time.process_time(),
    )
    budget.time = fast


def disturb_bases() -> None:
    """Turn gradients a little differently than other ranks do."""
    plain = Soap._refresh

    def refresh(self, name):
        plain(self, name)
        for side in self._sides[name]:
            if side is not None:
                side.basis.mul_(1 + 1e-6)

    Soap._refresh = refresh


def tell_weights() -> None:
    """Print the digest of the weights and of the optimiser's state after the loop."""
    plain = front.run_loop

    def run_loop(model, optimiser, *args, **options):
        state = plain(model, optimiser, *args, **options)
        print(hashlib.sha256(model.parameters.flat.numpy().tobytes()).hexdigest())
        told = optimiser.state()
        print(float(sum(v.double().sum() for k, v in told.items() if "basis" in k)))
        return state

    front.run_loop = run_loop


def main(kind: str, workspace: str, out: str, run: str | None = None) -> None:
    """Train, resume, stop or die."""
    with joined(os.environ, on_cuda=False) as ranks:
        is_second = ranks.place.rank == 1
        if kind == "die" and is_second:
            at_step(7, lambda: os._exit(9))
        if kind == "stop" and is_second:
            at_step(7, lambda: os.kill(os.getpid(), signal.SIGTERM))
        # SOAP would blow up the rounding of a sum that is made in another order.
        adam = OptimiserConfig(type="adam")
        config = replace(small_config(**LENGTH), optimiser=adam)
        if kind == "budget":
            timed = LENGTH | {"steps": None, "time_budget": "1s"}
            config = replace(small_config(**timed), optimiser=adam)
            if is_second:
                hasten_clock()
        if kind == "drift":
            often = OptimiserConfig(type="soap", soap_refresh=2)
            config = replace(small_config(**LENGTH), optimiser=often)
            tell_weights()
            if is_second:
                disturb_bases()
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
