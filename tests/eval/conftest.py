"""A workspace with a small dataset, a held-out part, and a model trained on it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from dpbench.io.ingest import IngestOptions, ingest
from dpbench.store.dataset import open_dataset
from dpbench.store.splits.making import make_split, save_split
from dpbench.store.workspace import Workspace
from dpbench.train.run import train
from tests.train.small_runs import small_config, write_system


@dataclass(frozen=True)
class Trained:
    """Where the pieces lie."""

    root: Path
    workspace: Workspace
    model: Path


def ingest_systems(workspace: Workspace, folder: Path, dataset: str) -> None:
    options = IngestOptions(workers=0, bundle_bytes=0)
    ingest(workspace, "deepmd", [folder], dataset=dataset, options=options)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    root = tmp_path_factory.mktemp("evaluated")
    for seed, name in enumerate(("a", "b", "c", "d", "e")):
        write_system(root / "systems" / name, seed=seed)
    workspace = Workspace.find(root / "workspace", create=True)
    ingest_systems(workspace, root / "systems", "pairs")
    version = open_dataset(workspace, "pairs")
    held = {"test": ["*d"], "ood": ["*e"], "validation": ["*c"]}
    save_split(version, make_split(version, fractions={"train": 1.0}, hold_out=held))
    train(workspace, small_config(), dataset="pairs", out=root)
    return Trained(root=root, workspace=workspace, model=root / "m.pth")
