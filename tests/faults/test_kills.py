"""kill -9 at every named step of an ingest, and at random moments.

Eight kills are spread over the steps by default; ``DPBENCH_KILLS=50`` (make test-full)
goes further. After each: the registry opens, ``verify`` finds nothing, and the same
ingest again ends in the same digest.
"""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace
from tests.faults.killed_ingest import STAGES

REPOSITORY = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("DPBENCH_KILLS", "8"))
LIMIT = 120
SOURCES = [
    REPOSITORY / "dpbench" / "_demo" / f"si8_a5{name}.out.gz"
    for name in ("25_900K", "55_900K", "40_300K")
]


def start(root, log, stage="none", call=1):
    command = [sys.executable, "-m", "tests.faults.killed_ingest"]
    arguments = [root, log, stage, call, *SOURCES]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stages_of(log):
    return log.read_text().split()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Digest of the whole ingest, how often each stage is entered, its seconds."""
    folder = tmp_path_factory.mktemp("whole")
    began = time.monotonic()
    child = start(folder / "w", folder / "log")
    output = child.communicate(timeout=LIMIT)
    seconds = time.monotonic() - began
    assert child.returncode == 0, output
    entered = Counter(stages_of(folder / "log"))
    assert set(STAGES) <= set(entered), "a named step is never reached"
    digest = open_dataset(Workspace.find(folder / "w"), "d").digest
    return digest, entered, seconds


def plan(entered):
    """(stage, call) of each kill: every stage once, then again at later calls.

    Every second one of the rest is None: a kill at a random moment.
    """
    drawn = random.Random(0)
    first = [(stage, 1) for stage in STAGES]
    more = [(s, c) for s in STAGES for c in range(2, entered[s] + 1)]
    drawn.shuffle(first)
    drawn.shuffle(more)
    kills = []
    while len(kills) < KILLS:
        kills.append(first.pop() if first else more.pop() if more else None)
        if len(kills) % 3 == 0:
            kills.append(None)
    # What makes a version real must be among a short run's kills.
    must = [("publish", 1), ("reference", 1), ("commit", entered["commit"])]
    return [*must, *[kill for kill in kills if kill not in must]][:KILLS]


def kill_at_a_moment(folder, seconds):
    """SIGKILL from outside, once the ingest proper has begun."""
    log = folder / "log"
    child = start(folder / "w", log)
    try:
        while not (log.exists() and log.stat().st_size) and child.poll() is None:
            time.sleep(0.002)
        time.sleep(random.Random(str(folder)).uniform(0, seconds / 2))
    finally:
        child.kill()
        child.communicate(timeout=LIMIT)


@pytest.mark.slow
def test_after_a_kill_anywhere_nothing_is_half_done(undisturbed, tmp_path, figures):
    digest, entered, seconds = undisturbed
    histogram: Counter[str] = Counter()
    for number, kill in enumerate(plan(entered)):
        folder = tmp_path / str(number)
        folder.mkdir()
        if kill is None:
            kill_at_a_moment(folder, seconds)
        else:
            child = start(folder / "w", folder / "log", *kill)
            output = child.communicate(timeout=LIMIT)
            assert child.returncode == -9, (kill, output)
        how = "random" if kill is None else "named"
        histogram[f"{stages_of(folder / 'log')[-1]} ({how})"] += 1
        check_after_kill(folder, digest)
    spread = ", ".join(f"{n} {where}" for where, n in sorted(histogram.items()))
    total = sum(histogram.values())
    figures(f"{total} kills, by the last step that was entered: {spread}")


def check_after_kill(folder, digest):
    workspace = Workspace.find(folder / "w", create=True)
    for command in (["dataset", "list"], ["dataset", "verify", "--all"]):
        done = dpbench(workspace, *command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    child = start(workspace.root, folder / "log2")
    output = child.communicate(timeout=LIMIT)
    assert child.returncode == 0, output
    version = open_dataset(workspace, "d")
    assert (version.digest, version.number) == (digest, 1)
    assert version.read(range(version.nframes)).nframes == version.nframes
    assert not list(workspace.stores.glob("*.tmp"))
    done = dpbench(workspace, "dataset", "verify", "d")
    assert done.returncode == 0, (done.stdout, done.stderr)


def dpbench(workspace, *arguments):
    command = [sys.executable, "-m", "dpbench", "--workspace", str(workspace.root)]
    return subprocess.run(
        [*command, *arguments],
        check=False,
        timeout=LIMIT,
        capture_output=True,
        text=True,
    )
