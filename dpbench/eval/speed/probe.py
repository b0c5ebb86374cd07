"""One process of a speed measurement: one configuration, one structure, its levels.

Run as ``python -m dpbench.eval.speed.probe JOB ANSWER``. The answer is a JSON file;
how the process ends is part of the measurement, so the caller judges that.
"""

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dpbench.backends.client import open_backend
from dpbench.backends.environments import launch_of
from dpbench.backends.trust import Trust
from dpbench.errors import BackendCrashed, BackendTimeout, DpbenchError
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.foreign import ForeignEvaluator
from dpbench.eval.native import NativeEvaluator
from dpbench.eval.speed.configurations import ProbeJob, read_job
from dpbench.eval.speed.engines import Mover, moving
from dpbench.eval.speed.families import make_structure
from dpbench.eval.speed.power import PowerMeter
from dpbench.eval.speed.settings import LEVELS
from dpbench.eval.structures import displaced
from dpbench.eval.throughput import DISPLACEMENT, is_out_of_memory
from dpbench.eval.timing import Case, Clock, Measurement, measure
from dpbench.frames import Frames
from dpbench.kernels.neighbours import find_neighbours
from dpbench.models.files import load_potential
from dpbench.models.parameters import DTYPES
from dpbench.models.sel import trained_overflow

OPENING_SECONDS = 900.0
"""How long opening a model may take, s: some backends compile it then."""


def main(arguments: list[str]) -> int:
    """Do the job of a file, and write the answer to another."""
    job, target = read_job(Path(arguments[0])), Path(arguments[1])
    bind(job.threads)
    answer = probe(job)
    target.write_text(json.dumps(answer), encoding="utf-8")
    return 0


def bind(threads: int) -> None:
    """Bind this process and what it starts to so many cores: XLA takes all it sees."""
    if hasattr(os, "sched_setaffinity"):
        mine = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, mine[:threads])


def probe(job: ProbeJob, *, clock: Clock = time.perf_counter) -> dict[str, Any]:
    """Time the levels of one structure; what the model does wrong is a result.

    Args:
        job: What to measure.
        clock: Source of time; tests bring their own.

    Returns:
        ``status`` and ``reason``, facts of the structure, and per level the seconds of
        a step in each window.
    """
    made = make_structure(job.family, job.elements, natoms=job.natoms, seed=job.seed)
    answer: dict[str, Any] = {
        "status": "ok",
        "reason": None,
        "natoms": len(made.frame.z),
        "replicas": list(made.replicas),
        "density": round(len(made.frame.z) / made.volume, 6),
        "mean_neighbours": None,
        "levels": {},
    }
    try:
        began = clock()
        with opened(job) as evaluator:
            answer["opening_s"] = round(clock() - began, 6)
            answer["levels"] = _timed(job, made.frame, evaluator, clock)
            answer["kernels"] = {} if evaluator is None else evaluator.kernels()
        answer["mean_neighbours"] = _mean_neighbours(made.frame, job)
    except (BackendCrashed, BackendTimeout) as error:
        kind = "timeout" if isinstance(error, BackendTimeout) else "crashed"
        words = _words(error)
        is_full = "GB of memory" in words or "SIGKILL" in words
        answer |= {"status": "out_of_memory" if is_full else kind, "reason": words}
    except (DpbenchError, MemoryError, RuntimeError) as error:
        is_full = is_out_of_memory(error) or is_told_out_of_memory(str(error))
        if not is_full and not isinstance(error, DpbenchError):
            raise  # a bug: the caller sees a crash with its traceback
        status = "out_of_memory" if is_full else "failed"
        answer |= {"status": status, "reason": _words(error)}
    return answer


def is_told_out_of_memory(words: str) -> bool:
    """Tell whether a foreign program's words say that memory ran out."""
    known = ("std::bad_alloc", "RESOURCE_EXHAUSTED", "out of memory", "MemoryError")
    return any(word in words for word in known)


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__


@contextmanager
def opened(job: ProbeJob) -> Iterator[AbstractEvaluator | None]:
    """Open a model as evaluations do; None where LAMMPS alone opens it."""
    configuration = job.configuration
    if configuration.backend == "dpbench":
        path = Path(str(configuration.path))
        model, provenance = load_potential(path, device=configuration.device)
        if configuration.precision is not None:
            model = model.to(configuration.device, DTYPES[configuration.precision])
        yield NativeEvaluator(
            model,
            device=configuration.device,
            is_exact=configuration.is_exact,
            sel_overflow=trained_overflow(provenance),
        )
        return
    if configuration.engine == "lammps" and set(job.levels) == {LEVELS[2]}:
        yield None
        return
    own = configuration.own_cards
    launch = launch_of(
        configuration.backend, own_cards=None if own is None else Path(own)
    )
    named = frozenset({configuration.trusted} - {None})
    with open_backend(
        launch,
        None if configuration.path is None else Path(configuration.path),
        trust=Trust(named=named),  # type: ignore[arg-type]
        timeout_s=job.timeout_s,
        start_timeout_s=OPENING_SECONDS,
        memory_limit=job.memory,
    ) as worker:
        yield ForeignEvaluator(worker)


def _mean_neighbours(frame: Frames, job: ProbeJob) -> float | None:
    rcut = job.configuration.rcut
    if rcut is None:
        return None
    pairs = find_neighbours(frame.coord, frame.box[0], frame.pbc[0], rcut)
    return round(len(pairs.edge_i) / len(frame.z), 3)


def _timed(
    job: ProbeJob, frame: Frames, evaluator: AbstractEvaluator | None, clock: Clock
) -> dict[str, Any]:
    """Time the levels in turn, and what a step of the dynamics takes of energy."""
    with ExitStack() as stack:
        cases = [] if evaluator is None else _forward_cases(job, frame, evaluator)
        mover = None
        if LEVELS[2] in job.levels:
            mover = stack.enter_context(moving(job, frame, evaluator))
            wait = evaluator.synchronise if evaluator is not None else lambda: None
            cases.append(
                Case(name=LEVELS[2], step=mover.step, many=mover.many, synchronise=wait)
            )
        cases = [_planted(job, case, clock) for case in cases]
        found = measure(cases, window_s=job.window_s, repeats=job.windows, clock=clock)
        told = {m.name: _told(m) for m in found}
        if mover is not None:
            told[LEVELS[2]]["list_rebuilds"] = mover.builds()
            told[LEVELS[2]] |= _energy(cases[-1], mover, found[-1].steps_per_window)
    return told


def _told(measurement: Measurement) -> dict[str, Any]:
    return {
        "seconds": list(measurement.samples),
        "steps_per_window": measurement.steps_per_window,
        "warmup_steps": measurement.warmup_steps,
        "warmup_s": measurement.warmup_s,
        "first_call_s": measurement.first_call_s,
    }


def _forward_cases(
    job: ProbeJob, frame: Frames, evaluator: AbstractEvaluator
) -> list[Case]:
    """Return forward passes on a list and with it, on inputs that take turns."""
    variants = [displaced(frame, amplitude=DISPLACEMENT, seed=s) for s in (1, 2)]
    steps: dict[str, Callable[[], object]] = {}
    if LEVELS[0] in job.levels:
        on_list = [evaluator.prepare(variant) for variant in variants]
        ready = [forward for forward in on_list if forward is not None]
        if len(ready) == len(variants):
            prepared = itertools.cycle(ready)
            steps[LEVELS[0]] = lambda: next(prepared)()
    if LEVELS[1] in job.levels:
        moved = itertools.cycle(variants)
        steps[LEVELS[1]] = lambda: evaluator.forward(next(moved))
    return [
        Case(name=name, step=step, synchronise=evaluator.synchronise)
        for name, step in steps.items()
    ]


def _energy(case: Case, mover: Mover, steps: int) -> dict[str, Any]:
    """Measure the energy of one more window of dynamics, where it can be read."""
    meter = PowerMeter.find()
    if meter.why_not is not None:
        return {"energy_j_per_step": None, "energy_why_not": meter.why_not}
    before = meter.start()
    case.synchronise()
    if case.many is not None:
        case.many(steps)
    else:
        for _ in range(steps):
            mover.step()
    case.synchronise()
    joules = meter.joules_since(before)
    return {
        "energy_j_per_step": None if joules is None else joules / steps,
        "energy_from": meter.source,
    }


def _planted(job: ProbeJob, case: Case, clock: Clock) -> Case:
    """Add the busy waits that a test asks for; what is measured must show them."""
    if not job.busy_ms and not job.slow_first_s:
        return case
    called = [0]

    def wait() -> None:
        called[0] += 1
        seconds = job.busy_ms / 1000
        seconds += job.slow_first_s if called[0] == 1 else 0.0
        until = clock() + seconds
        while clock() < until:
            pass

    def step() -> object:
        wait()
        return case.step()

    return replace(case, step=step, many=None)


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    sys.exit(main(sys.argv[1:]))
