"""A disk that fills up at any step: one clear line, nothing half-published."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dpbench.store import objects
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO = REPOSITORY / "dpbench" / "_demo"
LARGE = 64_000
SHARES = [0.05, 0.2, 0.4, 0.6, 0.75, 0.85, 0.92]
"""Room on the disk, of what the whole workspace takes."""


def dpbench(root, *arguments):
    command = [sys.executable, "-m", "dpbench", "--workspace", str(root)]
    return subprocess.run(
        [*command, *map(str, arguments)],
        check=False,
        timeout=120,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def disk(tmp_path):
    """A tmpfs whose size the test sets."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={LARGE}k", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine lets not even root mount a disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def resize(disk, kilobytes):
    options = f"remount,size={kilobytes}k"
    subprocess.run(["mount", "-o", options, str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount a tiny disk")
def test_a_full_disk_is_one_line_and_the_next_run_works(disk, figures):
    runs = sorted(DEMO.glob("*_900K.out.gz"))
    whole = disk.parent / "whole"
    assert dpbench(whole, "ingest", "qe", *runs, "--dataset", "d").returncode == 0
    digest = open_dataset(Workspace.find(whole), "d").digest
    failed = []
    room = kilobytes(whole)
    for number, size in enumerate(int(share * room) for share in SHARES):
        root = disk / f"w{number}"
        resize(disk, used(disk) + size)
        done = dpbench(root, "ingest", "qe", *runs, "--dataset", "d")
        resize(disk, LARGE)
        if done.returncode:
            failed.append(size)
            assert done.returncode == 1, (size, done.stderr)
            errors = [x for x in done.stderr.splitlines() if x.startswith("Error")]
            assert len(errors) == 1, (size, done.stderr)
            assert "Traceback" not in done.stderr, (size, done.stderr)
            workspace = Workspace.find(root, create=True)
            assert objects.version_numbers(workspace, "d") == []
            again = dpbench(root, "ingest", "qe", *runs, "--dataset", "d")
            assert again.returncode == 0, (size, again.stderr)
        version = open_dataset(Workspace.find(root), "d")
        assert (version.digest, version.number) == (digest, 1), size
        done = dpbench(root, "dataset", "verify", "--all")
        assert done.returncode == 0, (size, done.stdout, done.stderr)
    figures(f"a workspace of {room} kB; the disk was full at {failed} kB")
    assert len(failed) >= 5


def kilobytes(folder):
    """KB that a folder takes on a disk of pages of 4 kB."""
    sizes = [path.stat().st_size for path in folder.rglob("*")]
    return sum(-(-size // 4096) * 4 for size in sizes)


def used(disk):
    """kB that are taken."""
    state = os.statvfs(disk)
    return (state.f_blocks - state.f_bfree) * state.f_frsize // 1024
