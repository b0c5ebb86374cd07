"""A workspace with a small dataset that is made on the spot."""

from pathlib import Path

import pytest

from dpbench.io.ingest import IngestOptions, ingest
from dpbench.store.dataset import DatasetVersion, open_dataset
from dpbench.store.splits.making import make_split, save_split
from dpbench.store.workspace import Workspace
from tests.train.small_runs import write_system


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with dataset ``pairs``: four systems, one segment each."""
    root = tmp_path_factory.mktemp("made")
    for name, seed in (("a", 1), ("b", 2), ("c", 3), ("d", 4)):
        write_system(root / "systems" / name, seed=seed)
    workspace = Workspace.find(root / "workspace", create=True)
    ingest(
        workspace,
        "deepmd",
        [root / "systems"],
        dataset="pairs",
        options=IngestOptions(workers=0, bundle_bytes=0),
    )
    version = open_dataset(workspace, "pairs")
    held = {"test": ["*d"], "validation": ["*c"]}
    save_split(version, make_split(version, fractions={"train": 1.0}, hold_out=held))
    return root


@pytest.fixture
def workspace(made: Path) -> Workspace:
    return Workspace.find(made / "workspace")


@pytest.fixture
def version(workspace: Workspace) -> DatasetVersion:
    return open_dataset(workspace, "pairs")
