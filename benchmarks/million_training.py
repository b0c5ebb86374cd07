"""Training on far more frames than memory holds, against frames that are resident.

Run from the repository root, on a dataset that has a split::

    python benchmarks/million_training.py --workspace DIR --dataset million \
        [--steps 1000] [--memory-budget 2GB] [--threads 1] [--out train.json]

``million_frames.py --train`` runs it on its million frames. A run is set up as
``dpbench train`` does; statistics are taken of all training frames. Then the loop takes
its steps in blocks, in turn: a block whose batches come from anywhere in the dataset,
made ready in the prefetch thread, and a block whose batches are resident frames. Told
are the seconds a step of both, the ratio of their medians (bound: 1.2; ``cpu_ratio``:
of the CPU time of all threads, as if there were one core), and the largest memory that
the process and its workers owned (bound: 4 GB); the exit status is 1 beyond a bound.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from million_frames import memory_below

RESIDENT_FRAMES = 64
BLOCK_STEPS = 50
BOUND_BYTES = 4_000_000_000
BOUND_RATIO = 1.2


def main() -> None:
    """Train, and print the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--dataset", default="million")
    parser.add_argument("--steps", type=int, default=1000, help="of each kind")
    parser.add_argument("--batch-size", default="1", help="frames of a batch")
    parser.add_argument("--memory-budget", default="2GB")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--bounds-later", action="store_true", help="exit 0 beyond the bounds"
    )
    parser.add_argument("--out", type=Path, help="JSON record to write")
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    record = run(options)
    text = json.dumps(record, indent=1)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")
    is_beyond = record["ratio"] > BOUND_RATIO or record["own_mb"] * 1e6 > BOUND_BYTES
    if is_beyond and not options.bounds_later:
        raise SystemExit(1)


def run(options: argparse.Namespace) -> dict:
    """Set up a run, let both kinds of steps take turns; return the record."""
    import torch

    from dpbench.store.workspace import Workspace
    from dpbench.train.config import (
        DescriptorSettings,
        FittingSettings,
        ModelSettings,
        OptimiserConfig,
        RunSettings,
        TrainConfig,
    )
    from dpbench.train.session import begin

    torch.set_num_threads(options.threads)
    config = TrainConfig(
        model=ModelSettings(
            descriptor=DescriptorSettings(neuron=(25, 50, 100), axis_neuron=16),
            fitting=FittingSettings(neuron=(240, 240, 240)),
        ),
        optimiser=OptimiserConfig(type="adam"),
        training=RunSettings(
            steps=options.steps,
            batch_size=int(options.batch_size),
            precision=options.precision,
            memory_budget=options.memory_budget,
        ),
    )
    with Peak() as peak:
        began = time.perf_counter()
        session = begin(
            Workspace.find(options.workspace),
            config,
            dataset=options.dataset,
            device=torch.device("cpu"),
            command=sys.argv,
        )
        started = time.perf_counter() - began
        print(f"set up in {started:.0f} s", file=sys.stderr)
        seconds, cpu = take_turns(session, options.steps)
    data = session.pipeline.data
    ratio, cpu_ratio = (
        statistics.median(found["anywhere"]) / statistics.median(found["resident"])
        for found in (seconds, cpu)
    )
    return {
        "benchmark": "million_training",
        "training_frames": len(data.train),
        "atoms_per_frame": round(float(data.train.natoms.mean()), 1),
        "batch_size": int(options.batch_size),
        "steps": options.steps,
        "engine": session.engine.name,
        "precision": options.precision,
        "set_up_s": round(started, 1),
        "ms_per_step": {
            name: round(1000 * statistics.mean(found), 3)
            for name, found in seconds.items()
        },
        "ms_per_step_median_block": {
            name: round(1000 * statistics.median(found), 3)
            for name, found in seconds.items()
        },
        "ratio": round(ratio, 3),
        "cpu_ratio": round(cpu_ratio, 3),
        "bound_ratio": BOUND_RATIO,
        "memory_budget_mb": round(data.budget.total / 1e6, 1),
        "resident_share": round(data.train_maker.resident_share, 6),
        "own_mb": round(peak.own / 1e6, 1),
        "bound_mb": BOUND_BYTES / 1e6,
        "threads": options.threads,
        "hardware": {
            "cpu": platform.processor(),
            "cores": len(os.sched_getaffinity(0)),
        },
        "torch": torch.__version__,
    }


def take_turns(session: object, steps: int) -> tuple[dict, dict]:
    """Take blocks of steps in turn; seconds a step of each block, wall and CPU."""
    from contextlib import nullcontext

    from dpbench.train.loss import Prefactors

    model, engine, optimiser = session.model, session.engine, session.optimiser
    weights = Prefactors(energy=0.1, force=100.0, virial=0.0)
    streams = {
        "resident": resident(session),
        "anywhere": session.pipeline.stream(0, steps + BLOCK_STEPS),
    }
    seconds: dict[str, list[float]] = {name: [] for name in streams}
    cpu: dict[str, list[float]] = {name: [] for name in streams}
    anywhere = streams["anywhere"]
    with closing(anywhere) if hasattr(anywhere, "close") else nullcontext():
        # The first block of each compiles and fills caches: it is not counted.
        for block in range(-1, steps // BLOCK_STEPS):
            for name, stream in streams.items():
                count = BLOCK_STEPS if block >= 0 else BLOCK_STEPS // 2
                start, used = time.perf_counter(), time.process_time()
                for _ in range(count):
                    result = engine.losses_and_gradients(model, next(stream), weights)
                    optimiser.step(result.gradient, learning_rate=1e-5)
                if block >= 0:
                    seconds[name].append((time.perf_counter() - start) / count)
                    cpu[name].append((time.process_time() - used) / count)
    return seconds, cpu


def resident(session: object) -> Iterator[object]:
    """Yield batches of a few frames that are resident, again and again."""
    import numpy as np

    from dpbench.train.memory import MemoryBudget
    from dpbench.train.resident import BatchMaker

    data = session.pipeline.data
    maker = BatchMaker(
        data.train,
        data.type_map,
        device=session.model.device,
        dtype=session.model.dtype,
        budget=MemoryBudget(10**9),
    )
    rng = np.random.default_rng(0)
    count = min(RESIDENT_FRAMES, len(data.train))
    chosen = rng.choice(len(data.train), count, replace=False)
    maker(chosen)
    size = session.config.training.batch_size
    while True:
        yield maker(rng.choice(chosen, size, replace=False))


class Peak:
    """The largest memory that this process and its workers owned while the block ran.

    Anonymous and shared memory, not mapped files: those the kernel takes back.
    """

    def __enter__(self) -> "Peak":
        """Begin to look, once a second."""
        self.own = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            self.own = max(self.own, memory_below(os.getpid())["anonymous"])
            if self._ended.wait(1.0):
                return


if __name__ == "__main__":
    main()
