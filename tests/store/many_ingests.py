"""Ingests by several processes at once, and what must be true after them."""

import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from dpbench.store import objects
from dpbench.store.dataset import DatasetVersion, open_dataset
from dpbench.store.workspace import Workspace


def write_sources(folder: Path, count: int, *, frames: int = 4) -> list[Path]:
    """Write extended XYZ files with random frames of three atoms."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20)
    paths = []
    for number in range(count):
        lines = []
        for _ in range(frames):
            lines += [
                "3",
                'Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3:forces:R:3 '
                f'energy={rng.normal():.8f} pbc="T T T"',
            ]
            for symbol in ("O", "H", "H"):
                numbers = [*rng.uniform(0, 9, 3), *rng.normal(size=3)]
                lines.append(f"{symbol} " + " ".join(f"{x:.8f}" for x in numbers))
        path = folder / f"run{number}.extxyz"
        path.write_text("\n".join(lines) + "\n")
        paths.append(path)
    return paths


def start_ingest(root: Path, paths: Sequence[Path]) -> subprocess.Popen[str]:
    """Start one ``dpbench ingest`` of these sources."""
    return subprocess.Popen(
        [
            *(sys.executable, "-W", "error", "-m", "dpbench.cli"),
            *("--workspace", str(root), "-q", "ingest", "extxyz"),
            *map(str, paths),
            *("--dataset", "d", "--workers", "0"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def ingest_at_once(groups: Iterable[tuple[Path, Sequence[Path]]]) -> None:
    """Run one ``dpbench ingest`` for each (workspace, sources), all at once."""
    running = [start_ingest(root, paths) for root, paths in groups]
    said = [process.communicate(timeout=280)[1] for process in running]
    codes = [process.returncode for process in running]
    assert codes == [0] * len(running), "\n".join(said)


def check_nothing_lost(workspace: Workspace, expected: DatasetVersion) -> int:
    """Compare the newest version with ``expected``; return how many versions it took.

    Every version must be whole, and each the child of the one before.
    """
    numbers = objects.version_numbers(workspace, "d")
    versions = [open_dataset(workspace, f"d-v{number}") for number in numbers]
    newest = versions[-1]
    assert numbers == list(range(1, len(numbers) + 1))
    assert newest.digest == expected.digest
    ours, theirs = (
        sorted(map(bytes, version.frame_digests)) for version in (newest, expected)
    )
    assert ours == theirs
    ids = [version.object_id for version in versions]
    assert [version.payload["parent"] for version in versions] == [None, *ids[:-1]]
    for version in versions:
        assert version.read(range(version.nframes)).nframes == version.nframes
        for segment in version.segments:
            if (segment.folder / "segment.zarr").exists():
                assert segment.damaged_files() == []
    assert list(workspace.stores.glob("*.tmp")) == []
    return len(numbers)
