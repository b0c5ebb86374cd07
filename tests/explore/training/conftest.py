"""A workspace with a small dataset, and tasks of members that train in seconds."""

from dataclasses import replace
from pathlib import Path

import pytest

from dpbench.config import to_mapping
from dpbench.explore.training import EnsembleSettings, MemberTask, member_tasks
from dpbench.explore.training_split import training_split
from dpbench.io.ingest import IngestOptions, ingest
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace
from tests.train.small_runs import small_config, write_system


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with dataset ``pairs-v1``: two systems of twelve frames."""
    workspace = Workspace.find(tmp_path / "workspace", create=True)
    for name, seed in (("a", 1), ("b", 2)):
        write_system(tmp_path / "systems" / name, seed=seed)
    ingest(
        workspace,
        "deepmd",
        [tmp_path / "systems"],
        dataset="pairs",
        options=IngestOptions(workers=0),
    )
    return workspace


@pytest.fixture
def plan(workspace: Workspace, tmp_path: Path):
    """Make the tasks of a small ensemble on the dataset."""

    def tasks(iteration: int = 0, dataset: str = "pairs-v1", **changes):
        previous = changes.pop("previous", ())
        settings = EnsembleSettings(models=2, steps=20, reuse_steps=8, **changes)
        version = open_dataset(workspace, dataset)
        planned = member_tasks(
            settings,
            workspace=workspace.root,
            dataset=dataset,
            split=training_split(version, validation=settings.validation),
            folder=tmp_path / f"iter.{iteration:06d}" / "train",
            iteration=iteration,
            seed=7,
            base=tmp_path,
            previous=previous,
        )
        return tuple(map(small, planned))

    return tasks


def small(task: MemberTask) -> MemberTask:
    """Give a task the net of the small runs, and checkpoints every five steps."""
    run = task.config["training"]
    config = small_config(
        steps=run["steps"], seed=run["seed"], checkpoint_every=5, batch_size=4
    )
    roomy = replace(config.model.descriptor, sel="auto:2")
    config = replace(config, model=replace(config.model, descriptor=roomy))
    return replace(task, config=to_mapping(config))
