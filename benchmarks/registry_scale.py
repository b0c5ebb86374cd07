"""How fast a large registry answers: ``dataset list``, ``show``, ``log`` and ``diff``.

Run from the repository root::

    python benchmarks/registry_scale.py [--datasets 1000] [--versions 100] [--rounds 7]
        [--workspace DIR] [--record FILE]

A workspace is made of real objects, references, segments and rows: every dataset has
the given number of versions, each with one segment more than the one before; one split
a dataset; every tenth dataset renamed, every tenth with a retracted version. What is
not as in life: the datasets share all but their first segment (a hundred thousand would
be six million files), one transaction indexes a whole dataset, and nothing waits for
the disk. 1,000 datasets of 100 versions take 1.2 GB and about ten minutes;
``--workspace`` keeps them for the next time.

Then each command is run as a process of its own, in turn with one that only imports
SQLAlchemy, and what it takes beyond that is printed: median and range, of the wall and
of the processor's time. On a busy machine only the latter means anything.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from dpbench.frames import Frames, offsets
from dpbench.store import objects
from dpbench.store.catalog.engine import transaction
from dpbench.store.catalog.index import catch_up, index_version
from dpbench.store.dataset import open_dataset
from dpbench.store.digests import frame_digests, version_digest
from dpbench.store.history import rename, retract
from dpbench.store.references import parse_reference
from dpbench.store.segment import layout
from dpbench.store.segment.write import SegmentData, write_segment
from dpbench.store.splits.making import make_split, save_split
from dpbench.store.theory.mixture import fingerprint
from dpbench.store.workspace import Workspace

THEORY = {"code": "qe", "functional": "PBE"}
NFRAMES, NATOMS = 10, 8


def make_segment(workspace: Workspace, number: int) -> tuple[str, np.ndarray]:
    """Write one segment of random frames; return its id and its frames' digests."""
    rng = np.random.default_rng(number)
    frames = Frames(
        atom_offset=offsets([NATOMS] * NFRAMES),
        z=np.full(NFRAMES * NATOMS, 14, dtype=np.uint8),
        coord=rng.normal(size=(NFRAMES * NATOMS, 3)),
        force=rng.normal(size=(NFRAMES * NATOMS, 3)),
        box=np.tile(np.eye(3) * 5.4, (NFRAMES, 1, 1)),
        pbc=np.ones((NFRAMES, 3), dtype=np.bool_),
        energy=rng.normal(size=NFRAMES),
        virial=rng.normal(size=(NFRAMES, 3, 3)),
    )
    name = f"run{number}"
    source = {
        "id": fingerprint({"source": name}),
        "sha256": fingerprint({"content": name}),
        "path": f"runs/{name}.out",
        "member": "",
        "format": "qe/pw",
        "reader_version": 1,
        "code": "qe",
        "code_version": "7.2",
        "theory": fingerprint(THEORY),
        "complete": True,
        "bytes": 1000,
        "n_read": NFRAMES,
        "n_kept": NFRAMES,
        "quarantined": {},
        "notes": [],
    }
    digests = frame_digests(
        frames, theory=fingerprint(THEORY), quarantine=[""] * NFRAMES
    )
    data = SegmentData(
        role="data",
        frames=frames,
        source_id=np.zeros(NFRAMES, dtype=np.int32),
        step=np.arange(NFRAMES, dtype=np.int32),
        n_scf=np.full(NFRAMES, 9, dtype=np.int16),
        digests=digests,
        reasons=[""] * NFRAMES,
        sources=[source],
    )
    return write_segment(workspace.stores, data), digests


def fill(workspace: Workspace, *, datasets: int, versions: int) -> None:
    """Make the datasets."""
    objects.put(workspace, "theory", THEORY)
    shared = [make_segment(workspace, i) for i in range(versions - 1)]
    start = time.perf_counter()
    for number in range(datasets):
        own = make_segment(workspace, versions + number)
        fill_dataset(workspace, f"d{number:04d}", [own, *shared])
        if number % 50 == 49:
            took = time.perf_counter() - start
            print(f"{number + 1} datasets, {took:.0f} s", file=sys.stderr)
    for number in range(0, datasets, 10):
        reference = parse_reference(f"d{number:04d}-v{versions}")
        retract(workspace, reference, "a test of scale")
        rename(workspace, f"d{number + 1:04d}", f"renamed{number + 1:04d}")
    age(workspace)
    with transaction(workspace, write=True) as connection:
        catch_up(connection, workspace)


def fill_dataset(
    workspace: Workspace, name: str, made: list[tuple[str, np.ndarray]]
) -> None:
    """Make all versions of one dataset in one transaction, and a split."""
    parent = None
    entries = [{"id": i, "n_frames": NFRAMES, "excluded": {}} for i, _ in made]
    with transaction(workspace, write=True) as connection:
        for number in range(1, len(made) + 1):
            digest = version_digest(np.concatenate([d for _, d in made[:number]]))
            payload = {
                "format": layout.FORMAT,
                "dataset": name,
                "number": number,
                "digest": digest,
                "parent": parent,
                "n_frames": number * NFRAMES,
                "n_atoms": number * NFRAMES * NATOMS,
                "data": entries[:number],
                "quarantine": [],
                "quarantined": {},
                "theories": [fingerprint(THEORY)],
                "created_at": f"2026-01-01T{number // 60:02d}:{number % 60:02d}:00",
                "note": f"run {number}",
            }
            parent = objects.put(workspace, "version", payload)
            objects.claim_version(workspace, name, number=number, digest=parent)
            index_version(connection, workspace, parent, payload)
    version = open_dataset(workspace, name)
    save_split(version, make_split(version, seed=int(name[1:])))


def age(workspace: Workspace) -> None:
    """Let the folders have changed a minute ago, as they have when people work."""
    for folder, _, _ in os.walk(workspace.objects):
        then = os.stat(folder).st_mtime_ns - 60 * 10**9  # noqa: PTH116
        os.utime(folder, ns=(then, then))


def measure(root: Path, *, datasets: int, versions: int, rounds: int) -> dict:
    """Time the commands and the import in turn; return seconds beyond the import."""
    middle, newest = datasets // 2 + 2, versions
    name = f"d{middle:04d}"
    other = f"d{middle + 1:04d}"
    dataset = [sys.executable, "-m", "dpbench.cli", "--workspace", str(root), "dataset"]
    commands = {
        "import sqlalchemy": [sys.executable, "-c", "import sqlalchemy"],
        "list": [*dataset, "list"],
        "show": [*dataset, "show", name],
        "log": [*dataset, "log", name],
        "diff, neighbours": [*dataset, "diff", f"{name}-v{newest - 1}", name],
        "diff, first and last": [*dataset, "diff", f"{name}-v1", name],
        "diff, two datasets": [*dataset, "diff", name, f"{other}-v{newest // 2}"],
    }
    times: dict[str, list[tuple[float, float]]] = {label: [] for label in commands}
    for _ in range(rounds + 1):
        for label, command in commands.items():
            times[label].append(run(command))
    base = times["import sqlalchemy"]
    report = {}
    for label, taken in times.items():
        report[label] = {}
        for i, kind in enumerate(("wall", "cpu")):
            values = [a[i] for a in taken[1:]]  # the first round warms up
            if label != "import sqlalchemy":
                values = [v - b[i] for v, b in zip(values, base[1:], strict=True)]
            report[label][f"{kind}_s"] = round(statistics.median(values), 3)
            span = [round(min(values), 3), round(max(values), 3)]
            report[label][f"{kind}_range_s"] = span
    return report


def run(command: list[str]) -> tuple[float, float]:
    """Run a command; return its wall time and its processor time, s."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}")
    return wall, usage.ru_utime + usage.ru_stime


def main() -> None:
    """Make the registry, unless it is there, and time the commands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", type=int, default=1000)
    parser.add_argument("--versions", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workspace", type=Path, default=None)
    parser.add_argument("--record", type=Path, default=None)
    options = parser.parse_args()
    size = {"datasets": options.datasets, "versions": options.versions}
    folder = options.workspace or Path(tempfile.mkdtemp(prefix="registry-scale-"))
    try:
        if not (folder / "registry.db").exists():
            os.fsync = lambda _: None
            fill(Workspace.find(folder, create=True), **size)
        timed = measure(folder, **size, rounds=options.rounds)
        report = {
            "size": size,
            "registry_mb": round((folder / "registry.db").stat().st_size / 1e6, 1),
            "beyond_import": timed,
            "rounds": options.rounds,
            "machine": {
                "cpu": platform.processor() or platform.machine(),
                "cores": os.cpu_count(),
                "load": [round(x, 1) for x in os.getloadavg()],
            },
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("numpy", "sqlalchemy")},
            },
        }
    finally:
        if options.workspace is None:
            shutil.rmtree(folder)
    text = json.dumps(report, indent=1)
    print(text)
    if options.record is not None:
        options.record.write_text(text + "\n")


if __name__ == "__main__":
    main()
