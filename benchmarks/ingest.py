"""Reading VASP outputs against dpdata, and an ingest with one and two processes.

Run from the repository root::

    python benchmarks/ingest.py [--files 24] [--steps 400] [--workers 2] [--rounds 5]

Synthetic OUTCAR and vasprun.xml files (48 atoms, 15 electronic iterations a step; see
vasp_files.py) are made once. Then, in turn and several rounds: our reader and dpdata's
read an OUTCAR, then a vasprun.xml, each in this process and keeping nothing; dpbench
ingests all OUTCARs into a fresh workspace with one reader process and with several,
their start included, that is finding, hashing, parsing, gates, digests, Zarr, fsync and
commit. Ratios
are taken round by round, of neighbours in time; medians and ranges are printed, and as
JSON with ``--out FILE``. The memory of each reader is measured once, in a process of
its own, as what it takes above the start of reading. Nothing is held against a
threshold. The defaults make 300 MB of OUTCARs; a record is made of 2 GB, since starting
and committing take the same half second with one process and with two, on
a machine that does nothing else::

    python benchmarks/ingest.py --files 24 --steps 2400 --rounds 5 --out RECORD.json
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
import warnings
from collections.abc import Callable
from importlib.metadata import version as package_version
from pathlib import Path

from vasp_files import NATOMS, size_of, write_runs

PACKAGES = ("dpdata", "lxml", "numpy", "zarr")
FORMATS = {"OUTCAR": "vasp/outcar", "vasprun.xml": "vasp/xml"}


def with_dpdata(path: Path) -> int:
    import dpdata

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return len(dpdata.LabeledSystem(str(path), fmt=FORMATS[path.name]))


def with_dpbench(path: Path) -> int:
    from dpbench.io.parsed import SourceFiles
    from dpbench.io.readers import reader_of

    files = SourceFiles(format="vasp", paths=(path,))
    return reader_of("vasp").read(files).frames.nframes


def prepared(root: Path, small: Path) -> Callable[[Path, int], int]:
    """Make a workspace with a registry; return an ingest into it, to be timed."""
    from dpbench.io.ingest import ingest
    from dpbench.store.workspace import Workspace

    shutil.rmtree(root, ignore_errors=True)
    workspace = Workspace.find(root, create=True)
    ingest(workspace, "vasp", [small], dataset="small", workers=0)

    def run(folder: Path, workers: int) -> int:
        return ingest(
            workspace, "vasp", [folder], dataset="bench", workers=workers
        ).n_kept

    return run


READERS: dict[str, Callable[[Path], int]] = {
    "dpbench": with_dpbench,
    "dpdata": with_dpdata,
}


def timed(function: Callable[[], int], expected: int) -> float:
    """Return the wall time of one call, s; a wrong count ends the benchmark."""
    start = time.perf_counter()
    count = function()
    seconds = time.perf_counter() - start
    if count != expected:
        raise SystemExit(f"{count} frames; expected {expected}")
    return seconds


def summary(values: list[float], digits: int = 3) -> dict[str, object]:
    """Median, range and samples."""
    return {
        "median": round(statistics.median(values), digits),
        "range": [round(min(values), digits), round(max(values), digits)],
        "samples": [round(value, digits) for value in values],
    }


def compare_readers(path: Path, *, steps: int, rounds: int) -> dict[str, object]:
    """Read one file with both readers, in turn."""
    times: dict[str, list[float]] = {name: [] for name in READERS}
    for reader in READERS.values():
        reader(path)  # imports and a warm page cache
    for number in range(rounds):
        order = list(READERS) if number % 2 else list(READERS)[::-1]
        for name in order:
            times[name].append(timed(lambda n=name: READERS[n](path), steps))
    ratios = [b / a for a, b in zip(times["dpbench"], times["dpdata"], strict=True)]
    size = path.stat().st_size / 1e6
    memory = {name: memory_of(name, path) for name in READERS}
    return {
        "size_mb": round(size, 1),
        "seconds": {name: summary(values) for name, values in times.items()},
        "mb_per_s": {
            name: round(size / statistics.median(values), 1)
            for name, values in times.items()
        },
        "times_dpdata": summary(ratios, 2),
        "memory_mb": memory,
        "memory_of_dpdata": round(memory["dpbench"] / memory["dpdata"], 3),
    }


def memory_of(name: str, path: Path) -> float:
    """Return the largest memory that reading takes above its start, MB."""
    command = [sys.executable, __file__, "--memory-of", name, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return round(float(done.stdout), 1)


def print_memory(name: str, path: Path) -> None:
    """Read once, and print by how much the largest memory grew, MB."""
    if name == "dpdata":
        import dpdata  # noqa: F401 - imports are not counted
    else:
        pass
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = status("VmRSS")
    READERS[name](path)
    print(status("VmHWM") - before)


def status(key: str) -> float:
    """Return a size of this process as the kernel tells it, MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1.024e-3
    raise SystemExit(f"/proc/self/status has no {key}")


def compare_workers(
    folder: Path, *, frames: int, workers: int, rounds: int
) -> dict[str, object]:
    """Ingest everything with one process and with several, in turn."""
    counts = (1, workers)
    times: dict[int, list[float]] = {count: [] for count in counts}
    data, root, small = folder / "OUTCAR", folder / "ws", folder / "small"
    write_runs(small, files=1, steps=1)
    for number in range(rounds):
        for count in counts if number % 2 else counts[::-1]:
            run = prepared(root, small / "OUTCAR")
            times[count].append(timed(lambda r=run, n=count: r(data, n), frames))
    ratios = [one / many for one, many in zip(times[1], times[workers], strict=True)]
    size = size_of(data) / 1e6
    return {
        "size_mb": round(size, 1),
        "frames": frames,
        "seconds": {f"{n} workers": summary(values) for n, values in times.items()},
        "mb_per_s": {
            f"{n} workers": round(size / statistics.median(values), 1)
            for n, values in times.items()
        },
        f"times_one_with_{workers}": summary(ratios, 2),
    }


def cpu_name() -> str:
    """Name the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the files are made")
    parser.add_argument("--out", type=Path, help="write the record here too")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print_memory(options.memory_of[0], Path(options.memory_of[1]))
        return
    # One core a process: readers and numpy use one thread each.
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        record = measure(Path(folder), options)
    text = json.dumps(record, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")


def measure(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    write_runs(folder, files=options.files, steps=options.steps)
    readers = {}
    for name in FORMATS:
        path = next((folder / name.partition(".")[0]).rglob(name))
        readers[name] = compare_readers(
            path, steps=options.steps, rounds=options.rounds
        )
    return {
        "benchmark": "ingest",
        "atoms": NATOMS,
        "readers": readers,
        "ingest": compare_workers(
            folder,
            frames=options.files * options.steps,
            workers=options.workers,
            rounds=options.rounds,
        ),
        "load_average": os.getloadavg(),
        "threads": 1,
        "hardware": {"cpu": cpu_name(), "cores": os.cpu_count()},
        "versions": {
            "python": platform.python_version(),
            **{name: package_version(name) for name in PACKAGES},
        },
    }


if __name__ == "__main__":
    main()
