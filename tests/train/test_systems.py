"""The systems that an input.json names become a dataset and a split."""

import pytest

from dpbench.errors import ConfigError
from dpbench.store.dataset import open_dataset
from dpbench.store.splits.making import find_split
from dpbench.store.workspace import Workspace
from dpbench.train.config import TrainConfig
from dpbench.train.input_json import InputJson
from dpbench.train.systems import ingest_systems
from tests.train.small_runs import write_system


@pytest.fixture
def workspace(in_tmp) -> Workspace:
    for seed, name in enumerate(("a", "b", "c[1]")):
        write_system(in_tmp / "water box" / "data" / name, seed=seed, nframes=3)
    return Workspace.find(in_tmp / "workspace", create=True)


def stated(train: list[str], validation: list[str]) -> InputJson:
    return InputJson(
        config=TrainConfig(),
        systems=tuple(train),
        validation_systems=tuple(validation),
        notes=(),
    )


def sizes(workspace: Workspace, found: InputJson, path) -> dict[str, int]:
    label, digest = ingest_systems(workspace, found, path)
    return find_split(open_dataset(workspace, label), digest).sizes


def test_paths_are_found_from_here_or_from_the_file(workspace, in_tmp):
    path = in_tmp / "water box" / "input.json"
    here = stated(["water box/data/a"], ["water box/data/c[1]"])
    beside = stated(["data/a"], ["data/c[1]"])
    expected = {"train": 3, "validation": 3}
    assert sizes(workspace, here, path) == expected
    assert sizes(workspace, beside, path) == expected
    assert open_dataset(workspace, "water-box").number == 1


def test_without_validation_systems_all_frames_train(workspace, in_tmp):
    path = in_tmp / "water box" / "input.json"
    assert sizes(workspace, stated(["data/a", "data/b"], []), path) == {"train": 6}


def test_what_the_dataset_held_before_stays_unused(workspace, in_tmp):
    path = in_tmp / "water box" / "input.json"
    sizes(workspace, stated(["data/a"], []), path)
    found = sizes(workspace, stated(["data/b"], ["data/c[1]"]), path)
    assert found == {"train": 3, "validation": 3, "unused": 3}


def test_missing_systems_are_named(workspace, in_tmp):
    path = in_tmp / "water box" / "input.json"
    with pytest.raises(ConfigError, match=r"data/x .*--dataset"):
        ingest_systems(workspace, stated(["data/x"], []), path)
    with pytest.raises(ConfigError, match="names no systems"):
        ingest_systems(workspace, stated([], []), path)
    with pytest.raises(ConfigError, match="part of an HDF5 file"):
        ingest_systems(workspace, stated(["data/all.hdf5#/a"], []), path)
