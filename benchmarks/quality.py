"""What judging a dataset costs, frame by frame and in memory.

Run from the repository root::

    python benchmarks/quality.py [--frames 2000] [--atoms 100] [--rounds 3] [--out FILE]

Random frames of two elements at the density of water, a tenth of which are planted
twins (turned, permuted, in another cell), are written as deepmd/npy and ingested. Then,
in turn and several rounds, the stages of a judgement are timed on their own:
fingerprints (neighbours included), the search for twins, confirming a twin, and the
whole judgement. Medians and ranges are printed with the largest memory that the process
took; every planted twin must be found. The full run is ``--frames 200000``: about 40
minutes.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

DENSITY = 0.1
"""Atoms in an Å^3."""


def random_orthogonal(rng: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(3, 3)))[0]


def make_frames(folder: Path, *, frames: int, atoms: int) -> int:
    """Write a deepmd/npy system; return the number of planted twins."""
    rng = np.random.default_rng(0)
    length = (atoms / DENSITY) ** (1 / 3)
    n_twins = frames // 10
    n_plain = frames - n_twins
    spacing = int(np.ceil(atoms ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(spacing)] * 3), axis=-1).reshape(-1, 3)
    sites = grid[:atoms] * (length / spacing)
    coord = sites + rng.normal(scale=0.15, size=(n_plain, atoms, 3))
    box = np.tile(length * np.eye(3), (n_plain, 1, 1))
    types = np.arange(atoms) % 3 == 0
    of_type = [np.flatnonzero(types == kind) for kind in (False, True)]
    twins, boxes = [], []
    for frame in range(n_twins):
        order = np.arange(atoms)
        for members in of_type:
            order[members] = rng.permutation(members)
        turn = random_orthogonal(rng)
        skew = np.eye(3) + np.triu(rng.integers(-1, 2, (3, 3)), 1)
        twins.append((coord[frame][order] + rng.uniform(size=3)) @ turn)
        boxes.append(skew @ box[frame] @ turn)
    data = folder / "set.000"
    data.mkdir(parents=True)
    coord = np.concatenate([coord, np.reshape(twins, (n_twins, atoms, 3))])
    box = np.concatenate([box, np.reshape(boxes, (n_twins, 3, 3))])
    force = rng.normal(size=coord.shape)
    force -= force.mean(axis=1, keepdims=True)
    np.save(data / "coord.npy", coord.reshape(frames, -1))
    np.save(data / "box.npy", box.reshape(frames, 9))
    np.save(data / "energy.npy", rng.normal(size=frames))
    np.save(data / "force.npy", force.reshape(frames, -1))
    (folder / "type.raw").write_text("\n".join(str(int(kind)) for kind in types))
    (folder / "type_map.raw").write_text("H\nO\n")
    return n_twins


def timed(function: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def measure(root: Path, *, rounds: int, n_twins: int) -> dict[str, list[float]]:
    """Time the stages; SystemExit if a planted twin is missed."""
    from dpbench.io.quality.fingerprint import invariant_fingerprints, join
    from dpbench.io.quality.isometry import find_motion
    from dpbench.io.quality.judge import judge
    from dpbench.io.quality.twins import find_twins
    from dpbench.store.dataset import open_dataset
    from dpbench.store.workspace import Workspace

    version = open_dataset(Workspace.find(root), "bench")
    first = version.read([0])
    invariant_fingerprints(first)
    prints = join([invariant_fingerprints(f) for _, f in version.blocks(512)])
    sample = version.read(np.arange(min(256, version.nframes)))
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        seconds, _ = timed(lambda: invariant_fingerprints(sample))
        times.setdefault("fingerprint, ms a frame", []).append(
            1e3 * seconds / sample.nframes
        )
        seconds, pairs = timed(lambda: find_twins(prints))
        times.setdefault("search for twins, s", []).append(seconds)
        if len(pairs.i) != n_twins:
            raise SystemExit(f"{len(pairs.i)} pairs; {n_twins} were planted")
        pair = [version.read([frame[0]]) for frame in (pairs.i, pairs.j)]
        seconds, motion = timed(lambda pair=pair: find_motion(*pair))
        if motion is None:
            raise SystemExit("a planted twin was refuted")
        times.setdefault("confirming a twin, ms", []).append(1e3 * seconds)
        seconds, quality = timed(lambda: judge(version, is_cached=False))
        times.setdefault("judgement, ms a frame", []).append(
            1e3 * seconds / version.nframes
        )
        if quality.counts["duplicate_invariant"] != n_twins:
            raise SystemExit(f"{quality.counts}; {n_twins} twins were planted")
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--atoms", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    from dpbench.io.ingest import IngestOptions, ingest
    from dpbench.store.workspace import Workspace

    with tempfile.TemporaryDirectory() as folder:
        system, root = Path(folder) / "system", Path(folder) / "ws"
        n_twins = make_frames(system, frames=options.frames, atoms=options.atoms)
        workspace = Workspace.find(root, create=True)
        ingest(
            workspace,
            "deepmd",
            [system],
            dataset="bench",
            options=IngestOptions(workers=0),
        )
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        times = measure(root, rounds=options.rounds, n_twins=n_twins)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = {
        "frames": options.frames,
        "atoms": options.atoms,
        "twins": n_twins,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "memory_mb": {"ingest": before // 1024, "largest": after // 1024},
        "stages": {
            name: {
                "median": round(statistics.median(values), 4),
                "range": [round(min(values), 4), round(max(values), 4)],
            }
            for name, values in times.items()
        },
    }
    text = json.dumps(report, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
