"""Random batches of 32 frames: dpbench against npy sets, LMDB, zarr-python and memcpy.

Run from the repository root::

    python benchmarks/read_batches.py --folder DIR [--frames 200000] [--out read.json]

The same frames, in float32 (100 systems of 64 to 200 atoms, correlated steps), are
written once in each form: an ingested dpbench dataset; DeePMD npy sets, one system a
folder, read by memory map; LMDB with one msgpack record a frame, as DeePMD-kit 3 has
them. Then, interleaved and in several rounds, each reader gives the same random batches
of 32 frames as concatenated coordinates, forces, types, energies and cells:

- ``dpbench``: the compiled gather into a buffer that is used again;
- ``dpbench, fresh arrays``: ``read`` without a buffer;
- ``npy memmap``: every set mapped once, frames copied behind each other;
- ``lmdb msgpack``: one transaction a batch;
- ``zarr-python``: the dpbench dataset's own store, slice by slice;
- ``memcpy``: as many bytes, from one place in an array as large as the store, into a
  buffer that is used again; ``memcpy, scattered``: the bytes of each frame from another
  place, by numpy.

The readers must agree bit for bit on the first batch. Medians over rounds and their
spread are printed as JSON, with ratios of medians. Warm: everything was read before.
With --cold, each reader and round is a process of its own that tells the page cache to
drop all files first (posix_fadvise; a host that caches below the machine is not
reached).
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version as package_version
from pathlib import Path

import numpy as np

BATCH = 32
SET_FRAMES = 5_000
SYSTEMS = 100
SIDE = 14.0

Reader = Callable[[np.ndarray], dict[str, np.ndarray]]


def main() -> None:
    """Write the data, time the readers, print the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="a new folder")
    parser.add_argument("--frames", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="a reader and round")
    parser.add_argument("--cold", action="store_true", help="drop the page cache")
    parser.add_argument("--keep", action="store_true", help="leave the folder")
    parser.add_argument("--side", help="time this reader once, in the folder there is")
    parser.add_argument("--round", type=int, default=0, help="seed of a side's order")
    parser.add_argument("--out", type=Path, help="JSON record to write")
    options = parser.parse_args()
    folder: Path = options.folder.absolute()
    if options.side:
        print(json.dumps(one_side(folder, options)))
        return
    if folder.exists():
        raise SystemExit(f"{folder}: exists; expected the name of a new folder.")
    needed = options.frames * 132 * 25 * 5
    free = shutil.disk_usage(folder.parent).free
    if free < needed:
        raise SystemExit(
            f"{folder}: {free / 1e9:.1f} GB are free; expected {needed / 1e9:.1f} GB."
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


def run(folder: Path, options: argparse.Namespace) -> dict:
    """Write all forms, check that they agree, time them in turns."""
    data = folder / "npy"
    natoms = write_npy(data, options.frames)
    ingest_npy(data, folder / "workspace")
    write_lmdb(data, folder / "frames.lmdb")
    np.save(folder / "natoms.npy", natoms)
    os.sync()
    segments = len(list((folder / "workspace" / "stores").glob("*/segment.json")))
    names = list(factories(folder))
    # A cold reader is a process of its own: the kernel keeps pages that are mapped.
    readers = {} if options.cold else {n: f() for n, f in factories(folder).items()}
    if readers:
        agree(readers, np.random.default_rng(1).permutation(options.frames)[:BATCH])
    load = os.getloadavg()[0]
    rates: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    for number in range(options.rounds + 1):
        for name in names:
            order = np.random.default_rng(number).permutation(options.frames)
            if options.cold:
                rate, cost = in_a_process(folder, name, number, options.seconds)
            else:
                rate, cost = frames_per_second(readers[name], order, options.seconds)
            if number:  # the first round brings files into memory and compiles
                rates[name].append(rate)
                cpu[name].append(cost)
        print(f"round {number} of {options.rounds}", file=sys.stderr)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    frame_bytes = float(natoms.mean()) * 25 + 9 * 8 + 8
    ours = medians["dpbench"]
    return {
        "benchmark": "read_batches",
        "state": "cold" if options.cold else "warm",
        "frames": options.frames,
        "atoms": int(natoms.sum()),
        "batch": BATCH,
        "mb": round(natoms.sum() * 25 / 1e6, 1),
        "segments": segments,
        "threads": 1,
        "readers": {
            name: {
                "frames_per_s": round(medians[name]),
                "spread": [round(min(values)), round(max(values))],
                "gb_per_s": round(medians[name] * frame_bytes / 1e9, 3),
                "us_per_batch": round(BATCH / medians[name] * 1e6, 1),
                "cpu_us_per_batch": round(statistics.median(cpu[name]), 1),
                "samples": [round(value) for value in values],
            }
            for name, values in rates.items()
        },
        "ratio_of_dpbench_to": {
            name: round(ours / medians[name], 3) for name in names if name != "dpbench"
        },
        "ratio_by_cpu_time": {
            name: round(
                statistics.median(values) / statistics.median(cpu["dpbench"]), 3
            )
            for name, values in cpu.items()
            if name != "dpbench"
        },
        "load_average_before": load,
        "hardware": {"cpu": cpu_name(), "cores": os.cpu_count()},
        "python": platform.python_version(),
        "versions": {
            name: package_version(name)
            for name in ("dpbench", "numpy", "numba", "zarr", "lmdb", "msgpack")
        },
    }


def write_npy(folder: Path, frames: int) -> np.ndarray:
    """Write DeePMD systems; return (frame), atoms of each frame."""
    rng = np.random.default_rng(0)
    share = [frames // SYSTEMS + (i < frames % SYSTEMS) for i in range(SYSTEMS)]
    sizes = []
    for number, count in enumerate(share):
        natoms = int(rng.integers(64, 201))
        system = folder / f"system{number:03d}"
        system.mkdir(parents=True)
        types = np.sort(rng.integers(0, 3, natoms))
        (system / "type.raw").write_text("\n".join(map(str, types)) + "\n")
        (system / "type_map.raw").write_text("O\nH\nSi\n")
        place = rng.uniform(0, SIDE, (natoms, 3))
        for start in range(0, count, SET_FRAMES):
            size = min(SET_FRAMES, count - start)
            steps = rng.standard_normal((size, natoms * 3), dtype=np.float32) * 0.02
            coord = np.cumsum(steps, axis=0) + place.ravel()
            place = coord[-1].reshape(natoms, 3)
            target = system / f"set.{start // SET_FRAMES:03d}"
            target.mkdir()
            box = np.tile(np.eye(3).ravel() * SIDE, (size, 1))
            force = rng.standard_normal((size, natoms * 3), dtype=np.float32)
            np.save(target / "coord.npy", coord.round(5).astype(np.float32))
            np.save(target / "force.npy", force.round(6))
            np.save(target / "box.npy", box)
            np.save(target / "energy.npy", rng.normal(-5.0, 0.01, size) * natoms)
        sizes += [natoms] * count
    return np.array(sizes, dtype=np.int64)


def ingest_npy(data: Path, root: Path) -> None:
    """Make the dpbench dataset."""
    from dpbench.io.ingest import ingest
    from dpbench.store.workspace import Workspace

    workspace = Workspace.find(root, create=True)
    ingest(workspace, "deepmd", [data], dataset="bench", workers=0)


def write_lmdb(data: Path, path: Path) -> None:
    """Write one msgpack record a frame, in the order of the systems."""
    import lmdb
    import msgpack

    number = 0
    environment = lmdb.open(str(path), map_size=1 << 40, subdir=False, sync=False)
    for system in sorted(data.iterdir()):
        types = np.loadtxt(system / "type.raw", dtype=np.int64).astype(np.uint8)
        for folder in sorted(system.glob("set.*")):
            arrays = {
                name: np.load(folder / f"{name}.npy")
                for name in ("coord", "force", "box", "energy")
            }
            with environment.begin(write=True) as transaction:
                for row in range(len(arrays["coord"])):
                    record = {k: array[row].tobytes() for k, array in arrays.items()}
                    record["type"] = types.tobytes()
                    key = f"{number:012d}".encode()
                    transaction.put(key, msgpack.packb(record), append=True)
                    number += 1
    environment.sync(True)
    environment.close()


def factories(folder: Path) -> dict[str, Callable[[], Reader]]:
    """Name every reader, and what opens it."""
    return {
        "dpbench": lambda: dpbench_reader(folder, is_buffered=True),
        "dpbench, fresh arrays": lambda: dpbench_reader(folder, is_buffered=False),
        "npy memmap": lambda: npy_reader(folder / "npy"),
        "lmdb msgpack": lambda: lmdb_reader(folder / "frames.lmdb"),
        "zarr-python": lambda: zarr_reader(open_version(folder)),
        "memcpy": lambda: memcpy_reader(np.load(folder / "natoms.npy")),
        "memcpy, scattered": lambda: scattered_reader(np.load(folder / "natoms.npy")),
    }


def in_a_process(
    folder: Path, name: str, number: int, seconds: float
) -> tuple[float, float]:
    """Time a reader from a cold cache; return what ``frames_per_second`` does."""
    command = [sys.executable, __file__, "--folder", str(folder), "--side", name]
    command += ["--round", str(number), "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rate, cost = json.loads(done.stdout)
    return rate, cost


def one_side(folder: Path, options: argparse.Namespace) -> tuple[float, float]:
    """Open a reader, drop its files from the page cache, and time it."""
    reader = factories(folder)[options.side]()
    frames = len(np.load(folder / "natoms.npy"))
    order = np.random.default_rng(options.round).permutation(frames)
    reader(order[:1])
    drop([path for path in folder.rglob("*") if path.is_file()])
    return frames_per_second(reader, order[1:], options.seconds, is_once=True)


def open_version(folder: Path) -> object:
    """Open the dpbench dataset; its frames must be in the order of the sets'."""
    from dpbench.store.dataset import open_dataset
    from dpbench.store.workspace import Workspace

    version = open_dataset(Workspace.find(folder / "workspace"), "bench")
    if not np.array_equal(version.natoms, np.load(folder / "natoms.npy")):
        raise SystemExit("the dataset's frames are in another order than the sets'")
    return version


def dpbench_reader(folder: Path, *, is_buffered: bool) -> Reader:
    """Read with dpbench, into one buffer or into fresh arrays."""
    from dpbench.store.gather.buffer import FrameBuffer

    version, buffer = open_version(folder), FrameBuffer() if is_buffered else None
    return lambda index: arrays_of(version.read(index, buffer))


def arrays_of(frames: object) -> dict[str, np.ndarray]:
    """Name what all readers give."""
    return {
        "coord": frames.coord,
        "force": frames.force,
        "z": frames.z,
        "energy": frames.energy,
        "box": frames.box,
    }


def npy_reader(data: Path) -> Reader:
    """Read sets by memory map, as DeePMD-kit's loader of npy sets does."""
    numbers = np.array([8, 1, 14], dtype=np.uint8)
    sets, starts = [], [0]
    for system in sorted(data.iterdir()):
        types = numbers[np.loadtxt(system / "type.raw", dtype=np.int64)]
        for folder in sorted(system.glob("set.*")):
            maps = [
                np.load(folder / f"{name}.npy", mmap_mode="r")
                for name in ("coord", "force", "energy", "box")
            ]
            sets.append((*maps, types))
            starts.append(starts[-1] + len(maps[0]))
    edges = np.array(starts)

    def read(index: np.ndarray) -> dict[str, np.ndarray]:
        which = np.searchsorted(edges, index, side="right") - 1
        rows = index - edges[which]
        coord, force, energy, box, z = [], [], [], [], []
        for number, row in zip(which.tolist(), rows.tolist(), strict=True):
            one = sets[number]
            coord.append(one[0][row])
            force.append(one[1][row])
            energy.append(one[2][row])
            box.append(one[3][row])
            z.append(one[4])
        return {
            "coord": np.concatenate(coord).reshape(-1, 3),
            "force": np.concatenate(force).reshape(-1, 3),
            "z": np.concatenate(z),
            "energy": np.array(energy),
            "box": np.concatenate(box).reshape(-1, 3, 3),
        }

    return read


def lmdb_reader(path: Path) -> Reader:
    """Read one record a frame, one transaction a batch."""
    import lmdb
    import msgpack

    environment = lmdb.open(
        str(path), subdir=False, readonly=True, lock=False, readahead=False
    )
    numbers = np.array([8, 1, 14], dtype=np.uint8)

    def read(index: np.ndarray) -> dict[str, np.ndarray]:
        with environment.begin(buffers=True) as transaction:
            records = [
                msgpack.unpackb(transaction.get(f"{i:012d}".encode()))
                for i in index.tolist()
            ]
        joined = {key: b"".join(r[key] for r in records) for key in records[0]}
        return {
            "coord": np.frombuffer(joined["coord"], np.float32).reshape(-1, 3),
            "force": np.frombuffer(joined["force"], np.float32).reshape(-1, 3),
            "z": numbers[np.frombuffer(joined["type"], np.uint8)],
            "energy": np.frombuffer(joined["energy"], np.float64),
            "box": np.frombuffer(joined["box"], np.float64).reshape(-1, 3, 3),
        }

    return read


def zarr_reader(version: object) -> Reader:
    """Read the same store through zarr-python, slice by slice."""
    import zarr

    groups = [zarr.open_group(s.folder / "segment.zarr") for s in version.segments]
    atoms = [[g[f"atoms/{n}"] for n in ("coord", "force", "z")] for g in groups]
    frames = [[g[f"frames/{n}"] for n in ("energy", "box")] for g in groups]
    offsets = [segment.atom_offset for segment in version.segments]
    edges = np.cumsum([0, *(s.nframes for s in version.segments)])

    def read(index: np.ndarray) -> dict[str, np.ndarray]:
        which = np.searchsorted(edges, index, side="right") - 1
        parts: dict[str, list] = {
            n: [] for n in ("coord", "force", "z", "energy", "box")
        }
        rows = (index - edges[which]).tolist()
        for number, row in zip(which.tolist(), rows, strict=True):
            start, stop = offsets[number][row : row + 2].tolist()
            for name, array in zip(("coord", "force", "z"), atoms[number], strict=True):
                parts[name].append(array[start:stop])
            for name, array in zip(("energy", "box"), frames[number], strict=True):
                parts[name].append(array[row : row + 1])
        return {name: np.concatenate(values) for name, values in parts.items()}

    return read


def memcpy_reader(natoms: np.ndarray) -> Reader:
    """Copy as many bytes as a batch has, from one place."""
    sizes = natoms * 25 + 80
    source = np.ones(int(sizes.sum()), dtype=np.uint8)
    target = np.empty(int(np.sort(sizes)[-BATCH:].sum()), dtype=np.uint8)
    rng = np.random.default_rng(3)

    def read(index: np.ndarray) -> dict[str, np.ndarray]:
        size = int(sizes[index].sum())
        start = int(rng.integers(0, max(1, len(source) - size)))
        np.copyto(target[:size], source[start : start + size])
        return {}

    return read


def scattered_reader(natoms: np.ndarray) -> Reader:
    """Copy the bytes of each frame from its own place, one numpy call a frame."""
    sizes = natoms * 25 + 80
    starts = np.concatenate([[0], np.cumsum(sizes)])
    source = np.ones(int(starts[-1]), dtype=np.uint8)
    target = np.empty(int(np.sort(sizes)[-BATCH:].sum()), dtype=np.uint8)

    def read(index: np.ndarray) -> dict[str, np.ndarray]:
        at = 0
        for start, size in zip(
            starts[index].tolist(), sizes[index].tolist(), strict=True
        ):
            target[at : at + size] = source[start : start + size]
            at += size
        return {}

    return read


def agree(readers: dict[str, Reader], index: np.ndarray) -> None:
    """Refuse readers that do not give the same numbers."""
    expected = {k: v.copy() for k, v in readers["npy memmap"](index).items()}
    for name, reader in readers.items():
        for key, values in reader(index).items():
            if not np.array_equal(values, expected[key]):
                raise SystemExit(f"{name}: {key} differs from what the npy sets hold")


def frames_per_second(
    reader: Reader, order: np.ndarray, seconds: float, *, is_once: bool = False
) -> tuple[float, float]:
    """Read batch after batch for a time; an epoch that is used up starts again.

    With ``is_once`` it does not: what was read is not cold any more.

    Returns:
        Frames a second, and processor time of a batch, us: on a busy machine the
        latter tells more.
    """
    batches = [order[i : i + BATCH] for i in range(0, len(order) - BATCH + 1, BATCH)]
    count, began, used = 0, time.perf_counter(), time.process_time()
    while True:
        reader(batches[count % len(batches)])
        count += 1
        took = time.perf_counter() - began
        if took > seconds or (is_once and count == len(batches)):
            cost = (time.process_time() - used) / count * 1e6
            return count * BATCH / took, cost


def drop(files: list[Path]) -> None:
    """Tell the kernel that cached pages of these files are not needed."""
    for path in files:
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def cpu_name() -> str:
    """Name the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
