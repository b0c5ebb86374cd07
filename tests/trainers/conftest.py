"""A small dataset with a split, and trainers that need nothing but numpy."""

import os
import sys
from pathlib import Path

import pytest

from dpbench.backends.launch import Launch
from dpbench.io.ingest import IngestOptions, ingest
from dpbench.store.dataset import open_dataset
from dpbench.store.splits.making import make_split, save_split
from dpbench.store.workspace import Workspace
from tests.train.small_runs import write_system

FAKE = Path(__file__).with_name("fake")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a workspace that holds ``pairs``: train, validation and test."""
    root = tmp_path_factory.mktemp("foreign")
    for seed, name in enumerate(("a", "b", "c", "d")):
        write_system(root / "systems" / name, seed=seed)
    workspace = Workspace.find(root / "workspace", create=True)
    options = IngestOptions(workers=0, bundle_bytes=0)
    ingest(workspace, "deepmd", [root / "systems"], dataset="pairs", options=options)
    version = open_dataset(workspace, "pairs")
    held = {"test": ["*d"], "validation": ["*c"]}
    save_split(version, make_split(version, fractions={"train": 1.0}, hold_out=held))
    return root


@pytest.fixture
def workspace(made: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """That workspace; no environment of this machine is looked at."""
    monkeypatch.setenv("DPBENCH_BACKENDS", str(made / "backends"))
    monkeypatch.setenv("XDG_DATA_HOME", str(made / "home"))
    return Workspace.find(made / "workspace")


def fake_launch(mode: str = "well") -> Launch:
    """Return what launches a fake trainer that does as it is told."""
    return Launch(
        name="fake",
        python=Path(sys.executable),
        adapter=Path(os.devnull),
        env={"DPBENCH_PYTHONPATH": str(FAKE), "FAKE_MODE": mode},
    )


@pytest.fixture
def fake():
    """Launch a fake trainer in one of its modes."""
    return fake_launch
