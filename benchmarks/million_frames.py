"""A million frames through ingest, verify, split and reading, in bounded memory.

Run from the repository root::

    python benchmarks/million_frames.py --folder DIR [--out million.json]

DeePMD systems of 100 atoms are written as deepmd/npy in float32 (2.5 GB for a million
frames). Then each command runs as a user runs it, one after the other: ingest with two
workers, verify, split, and a process that opens the version and reads random batches.
While a command runs, a thread adds up the resident memory of it and all processes below
it, ten times a second. Where the sum exceeds the bound, 2 GB, the exit status is 1.

Resident memory is counted in full: pages that two processes share count twice, and
mapped files count though the kernel may take their pages back at any time. What the
processes own is told as ``anonymous``. The split looks for twins only with --twins:
fingerprints of a million frames take an hour.

With --train the dataset is trained on for 1,000 steps, too: ``million_training.py``,
whose bounds are its own (4 GB owned, 1.2 times the time of a step on resident frames).
Statistics and neighbour counts take 0.6 ms a frame: ten minutes for a million.
The same in minutes: --frames 4000 --memory-budget 20MB, which keeps few frames ready.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

NATOMS = 100
NEEDED_BYTES = 20_000_000_000
BOUND_BYTES = 2_000_000_000
BATCH = 32

READER = """
import json, sys, time
import numpy as np
from dpbench.store.dataset import open_dataset
from dpbench.store.gather.buffer import FrameBuffer
from dpbench.store.workspace import Workspace

began = time.perf_counter()
version = open_dataset(Workspace.find(sys.argv[1]), "million")
natoms = version.natoms
opened = time.perf_counter() - began
buffer, rng = FrameBuffer(), np.random.default_rng(0)
version.read([0], buffer)
count = int(sys.argv[2])
began = time.perf_counter()
for _ in range(count):
    version.read(rng.integers(0, version.nframes, 32), buffer)
seconds = time.perf_counter() - began
print(json.dumps({"frames": version.nframes, "atoms": int(natoms.sum()),
    "segments": len(version.segments), "digest": version.digest, "open_s": opened,
    "random_frames_per_s_cold_maps": count * 32 / seconds}))
"""


def main() -> None:
    """Run all stages and print the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="a new folder")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--systems", type=int, default=20)
    parser.add_argument("--set-frames", type=int, default=5_000, help="of a set")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batches", type=int, default=64, help="random batches read")
    parser.add_argument("--twins", action="store_true", help="split looks for twins")
    parser.add_argument("--train", action="store_true", help="train on it, too")
    parser.add_argument("--train-steps", type=int, default=1000)
    parser.add_argument("--memory-budget", default="2GB", help="of the training")
    parser.add_argument("--keep", action="store_true", help="leave the folder")
    parser.add_argument("--out", type=Path, help="JSON record to write")
    options = parser.parse_args()
    folder: Path = options.folder.absolute()
    if folder.exists():
        raise SystemExit(f"{folder}: exists; expected the name of a new folder.")
    free = shutil.disk_usage(folder.parent).free
    if free < NEEDED_BYTES:
        raise SystemExit(
            f"{folder}: {free / 1e9:.1f} GB are free; expected at least "
            f"{NEEDED_BYTES / 1e9:.0f} GB. Name a folder on another disk."
        )
    try:
        record = run(folder, options)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    text = json.dumps(record, indent=1)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")
    trained = record["train"]
    is_slow = trained is not None and (
        trained["ratio"] > trained["bound_ratio"]
        or trained["own_mb"] > trained["bound_mb"]
    )
    if record["largest_resident_mb"] * 1e6 > BOUND_BYTES or is_slow:
        raise SystemExit(1)


def run(folder: Path, options: argparse.Namespace) -> dict:
    """Run the stages; return the record."""
    data, workspace = folder / "data", folder / "workspace"
    began = time.perf_counter()
    size = write_systems(
        data,
        frames=options.frames,
        systems=options.systems,
        set_frames=options.set_frames,
    )
    stages: dict[str, dict] = {"generate": {"seconds": time.perf_counter() - began}}
    program = [sys.executable, "-m", "dpbench", "--workspace", str(workspace)]
    ingest = ["ingest", "deepmd", str(data), "--dataset", "million"]
    twins = [] if options.twins else ["--skip-twins"]
    commands = {
        "ingest": [*program, *ingest, "--workers", str(options.workers)],
        "ingest again": [*program, *ingest, "--workers", str(options.workers)],
        "verify": [*program, "dataset", "verify", "million"],
        "split": [*program, "dataset", "split", "million", *twins],
        "show": [*program, "dataset", "show", "million", "--json"],
        "open and read": [
            *(sys.executable, "-c", READER),
            *(str(workspace), str(options.batches)),
        ],
    }
    for name, command in commands.items():
        stages[name], output = watched(command)
        print(f"{name}: {stages[name]}", file=sys.stderr)
    trained = train(workspace, options, stages) if options.train else None
    found = json.loads(output)
    if found["frames"] != options.frames:
        raise SystemExit(f"{found['frames']} frames; expected {options.frames}")
    own = [stage for name, stage in stages.items() if name != "train"]
    largest = max(stage.get("resident_mb", 0) for stage in own)
    return {
        "benchmark": "million_frames",
        "frames": options.frames,
        "atoms_per_frame": NATOMS,
        "source_mb": round(size / 1e6, 1),
        "store_mb": round(folder_bytes(workspace / "stores") / 1e6, 1),
        "stages": stages,
        "read": found,
        "train": trained,
        "largest_resident_mb": largest,
        "bound_mb": BOUND_BYTES / 1e6,
        "total_s": round(sum(stage["seconds"] for stage in stages.values()), 1),
        "hardware": {"cpu": platform.processor(), "cores": os.cpu_count()},
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def train(
    workspace: Path, options: argparse.Namespace, stages: dict[str, dict]
) -> dict:
    """Train on the dataset; return that record."""
    script = Path(__file__).with_name("million_training.py")
    words = ["--workspace", str(workspace), "--bounds-later"]
    words += ["--steps", str(options.train_steps)]
    words += ["--memory-budget", options.memory_budget]
    stages["train"], output = watched([sys.executable, str(script), *words])
    print(f"train: {stages['train']}", file=sys.stderr)
    return json.loads(output)


def write_systems(folder: Path, *, frames: int, systems: int, set_frames: int) -> int:
    """Write trajectories as deepmd/npy; return their size in bytes.

    Each system walks from a lattice in steps of 0.01 Å, with random forces: what the
    store does with the numbers does not depend on their physics.
    """
    rng = np.random.default_rng(0)
    side = 11.0
    grid = np.stack(np.meshgrid(*[np.arange(5)] * 3, indexing="ij"), axis=-1)
    sites = (grid.reshape(-1, 3)[:NATOMS] * side / 5).astype(np.float32)
    share = [frames // systems + (i < frames % systems) for i in range(systems)]
    for number, count in enumerate(share):
        system = folder / f"system{number:03d}"
        system.mkdir(parents=True)
        types = np.arange(NATOMS) % 3
        (system / "type.raw").write_text("\n".join(map(str, np.sort(types))) + "\n")
        (system / "type_map.raw").write_text(f"O\nH\n{'Si' if number % 2 else 'Al'}\n")
        place = sites.copy()
        for start in range(0, count, set_frames):
            size = min(set_frames, count - start)
            steps = rng.standard_normal((size, NATOMS, 3), dtype=np.float32) * 0.01
            coord = place + np.cumsum(steps, axis=0, dtype=np.float32)
            place = coord[-1]
            target = system / f"set.{start // set_frames:03d}"
            target.mkdir()
            force = rng.standard_normal((size, NATOMS * 3), dtype=np.float32)
            box = np.tile(np.eye(3, dtype=np.float32).ravel() * side, (size, 1))
            np.save(target / "coord.npy", coord.reshape(size, -1))
            np.save(target / "force.npy", force)
            np.save(target / "box.npy", box)
            np.save(target / "energy.npy", rng.normal(-500.0, 1.0, size))
    return folder_bytes(folder)


def watched(command: list[str]) -> tuple[dict, str]:
    """Run a command; return its time and largest memory, and what it printed."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    peak: dict[str, float] = {"resident": 0.0, "anonymous": 0.0, "processes": 0.0}
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(0.1):
            for key, value in memory_below(process.pid).items():
                peak[key] = max(peak[key], value)

    thread = threading.Thread(target=sample)
    thread.start()
    output, errors = process.communicate()
    ended.set()
    thread.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}\n{errors}")
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "resident_mb": round(peak["resident"] / 1e6, 1),
        "anonymous_mb": round(peak["anonymous"] / 1e6, 1),
        "processes": int(peak["processes"]),
    }, output


def memory_below(root: int) -> dict[str, float]:
    """Add up the memory of a process and all below it, bytes, as /proc tells it."""
    parents: dict[int, int] = {}
    memory: dict[int, tuple[float, float]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            lines = (entry / "status").read_text().splitlines()
        except OSError:
            continue  # it has ended meanwhile
        told = dict(line.split(":", 1) for line in lines if ":" in line)
        parents[int(entry.name)] = int(told["PPid"])
        size = {
            key: float(told.get(key, "0").split()[0]) * 1024
            for key in ("VmRSS", "RssAnon", "RssShmem")
        }
        owned = size["RssAnon"] + size["RssShmem"]
        memory[int(entry.name)] = (size["VmRSS"], owned)
    family = {root}
    while more := {p for p, parent in parents.items() if parent in family} - family:
        family |= more
    found = [memory[pid] for pid in family if pid in memory]
    return {
        "resident": sum(size for size, _ in found),
        "anonymous": sum(size for _, size in found),
        "processes": float(len(found)),
    }


def folder_bytes(folder: Path) -> int:
    """Size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
