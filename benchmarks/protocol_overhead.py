"""What the way to a worker and back costs, beside the backend's own time.

known    a worker that computes for a known time, for several sizes of frames: the
         microseconds of a call that are not the worker's
backend  a real one: its own time for a frame, what the way adds in percent, and the
         time that the same adapter takes without a worker, in one process

The overhead of a call is what the caller waits for, less what the adapter's
``evaluate`` takes by the worker's own clock: grouping, copying both ways, two messages,
every check, and two switches between processes. On a machine that others use, the tenth
percentile is nearer to that than the median, which holds waiting for a core.

Examples:
    python -m benchmarks.protocol_overhead known
    python -m benchmarks.protocol_overhead backend --python ENV/bin/python \
        --adapter dpbench/backends/workers/deepmd_kit.py --model m.pb --elements O H
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from dpbench.backends.client import BackendModel, Launch, open_backend
from dpbench.backends.sandbox import sandbox_kind
from dpbench.backends.trust import Trust, digest_of
from dpbench.backends.worker_process import SERVER
from dpbench.elements import atomic_numbers
from dpbench.frames import Frames, uniform

SPACING = 2.2  # Å between atoms of the made frames: 94 atoms per nm^3, as water
WARM_UP = 3

DIRECT = """
import json, sys, time
import numpy as np
sys.path.insert(0, sys.argv[1])
import serve
adapter = serve.load_adapter(sys.argv[2])
model = adapter.open_model(sys.argv[3], json.loads(sys.argv[4]))
arrays = np.load(sys.argv[5])
seconds, pbc = [], np.ones(3, bool)
for _ in range(int(sys.argv[6])):
    began = time.perf_counter()
    model.evaluate(arrays["coord"], arrays["box"], pbc, arrays["atype"], {})
    seconds.append(time.perf_counter() - began)
print("seconds", json.dumps(seconds))
"""


def main() -> None:
    args = arguments()
    record: dict[str, Any] = {
        "benchmark": "protocol_overhead",
        "machine": {"cpu": cpu(), "cores": os.cpu_count(), "load": os.getloadavg()},
        "sandbox": sandbox_kind(),
    }
    record[args.part] = known(args) if args.part == "known" else backend(args)
    text = json.dumps(record, indent=1)
    if args.out:
        Path(args.out).write_text(text + "\n")
    print(text)


def known(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time calls of known length."""
    adapter = Path(__file__).with_name("known_time_worker.py").resolve()
    launch = Launch(name="known", python=Path(sys.executable), adapter=adapter)
    rows = []
    for natoms in args.natoms:
        frames = lattice(natoms, ["Ar"])
        for milliseconds in args.milliseconds:
            options = {"seconds": milliseconds / 1000}
            with open_backend(launch, None, trust=Trust(), options=options) as model:
                row = timed(model, frames, args.repeats)
            rows.append({"natoms": natoms, "asked_ms": milliseconds, **row})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def backend(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time a real backend, in a worker and without one."""
    launch = Launch(
        name="backend", python=args.python.absolute(), adapter=args.adapter.absolute()
    )
    options = json.loads(args.options)
    trust = Trust(named=frozenset({digest_of(args.model)}))
    rows = []
    with open_backend(launch, args.model, trust=trust, options=options) as model:
        for natoms in args.natoms:
            frames = lattice(natoms, args.elements)
            row = {
                "natoms": natoms,
                "backend": model.facts["backend"],
                "start_s": round(model.start_s, 2),
                **timed(model, frames, args.repeats),
            }
            row["direct_ms"] = round(direct(args, model, frames) * 1e3, 3)
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    return rows


def timed(model: BackendModel, frames: Frames, repeats: int) -> dict[str, Any]:
    """Evaluate again and again; return medians."""
    answers = [model.evaluate(frames) for _ in range(WARM_UP + repeats)][WARM_UP:]
    overhead = [answer.overhead_s for answer in answers]
    worker = statistics.median(answer.worker_s for answer in answers)
    middle = statistics.median(overhead)
    return {
        "calls": repeats,
        "worker_ms": round(worker * 1e3, 3),
        "overhead_us": round(middle * 1e6, 1),
        "overhead_us_p10": round(float(np.quantile(overhead, 0.1)) * 1e6, 1),
        "overhead_us_p90": round(float(np.quantile(overhead, 0.9)) * 1e6, 1),
        "overhead_percent": round(100 * middle / worker, 3),
    }


def direct(args: argparse.Namespace, model: BackendModel, frames: Frames) -> float:
    """Return what the adapter takes in a process without protocol or sandbox, s."""
    columns = {z: i for i, z in enumerate(atomic_numbers(model.type_map, where=""))}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arrays.npz"
        atype = np.array([columns[int(z)] for z in frames.z], np.int64)
        np.savez(path, coord=frames.coord[None], box=frames.box, atype=atype)
        words = [args.adapter, args.model.absolute(), args.options, path]
        words.append(WARM_UP + args.repeats)
        command = [args.python, "-c", DIRECT, SERVER.parent, *words]
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=True
        )
    line = next(x for x in done.stdout.splitlines() if x.startswith("seconds "))
    return statistics.median(json.loads(line.removeprefix("seconds "))[WARM_UP:])


def lattice(natoms: int, elements: Iterable[str]) -> Frames:
    """Make one disordered periodic frame of about so many atoms, exactly so many."""
    rng = np.random.default_rng(0)
    side = int(np.ceil(natoms ** (1 / 3)))
    coord = SPACING * np.indices((side, side, side)).reshape(3, -1).T[:natoms]
    coord = coord + rng.normal(scale=0.05, size=coord.shape)
    z = np.resize(atomic_numbers(tuple(elements), where="--elements"), natoms)
    return uniform(z=z, coord=coord[None], box=np.eye(3)[None] * side * SPACING)


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [x.partition(":")[2].strip() for x in lines if x.startswith("model name")]
    return names[0] if names else platform.machine()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("known", "backend"))
    parser.add_argument("--natoms", type=int, nargs="+", default=[1, 100, 1000, 10_000])
    parser.add_argument("--milliseconds", type=float, nargs="+", default=[0, 10, 100])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--python", type=Path)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--options", default="{}")
    parser.add_argument("--elements", nargs="+", default=["O", "H"])
    parser.add_argument("--out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
