"""The commands that look at versions answer at once: they load little."""

import json
import subprocess
import sys

import pytest

from dpbench.store.dataset import open_dataset
from dpbench.store.splits.making import make_split, save_split
from tests.store.synthetic import (
    commit,
    new_workspace,
    random_frames,
    segment_data,
    source_entry,
)

HEAVY = {"alembic", "dask", "dpdata", "numba", "pandas", "scipy", "torch", "zarr"}

CODE = """
import json, sys
from dpbench.cli.main import cli
try:
    cli(sys.argv[1:], standalone_mode=True)
finally:
    print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    workspace = new_workspace(tmp_path_factory.mktemp("imports"))
    frames = random_frames(0, [2, 3, 4])
    commit(workspace, "w", segment_data(frames, [source_entry("a")]))
    commit(workspace, "w", segment_data(random_frames(1, [2, 2]), [source_entry("b")]))
    version = open_dataset(workspace, "w")
    save_split(version, make_split(version, strategy="random"))
    frames.energy[:] += 1.0
    commit(workspace, "v", segment_data(frames, [source_entry("c")]))
    return workspace.root


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["show", "w"],
        ["log", "w"],
        ["diff", "w-v1", "w-v2"],
        ["diff", "w", "v"],  # reads frames: the same structures, other energies
        ["retract", "w-v1", "--reason", "a test"],
        ["rename", "w", "h2o"],
    ],
    ids=" ".join,
)
def test_commands_about_versions_load_nothing_heavy(root, arguments):
    command = [sys.executable, "-W", "error", "-c", CODE]
    command += ["--workspace", str(root), "dataset", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert loaded & HEAVY == set()
    assert "sqlalchemy" in loaded or arguments[0] == "diff"
