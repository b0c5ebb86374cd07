"""Frames of a dataset as start structures."""

import numpy as np
import pytest

from dpbench.errors import ConfigError, DpbenchError
from dpbench.explore.sampling.starts import start_structures
from dpbench.io.ingest import IngestOptions, ingest
from dpbench.store.workspace import Workspace
from tests.explore.sampling.small import settings_of, starts_of

A = 4.05
SITES = A * np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
FRAMES = {"name": "known", "kind": "dataset", "dataset": "cells-v1"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Twelve labelled frames of aluminium."""
    root = tmp_path_factory.mktemp("starts")
    folder = root / "al" / "set.000"
    folder.mkdir(parents=True)
    (root / "al" / "type.raw").write_text("0\n" * 4)
    (root / "al" / "type_map.raw").write_text("Al\n")
    rng = np.random.default_rng(0)
    coord = SITES + rng.normal(scale=0.1, size=(12, 4, 3))
    for name, array in {
        "coord": coord,
        "box": np.tile(A * np.eye(3), (12, 1, 1)),
        "energy": rng.normal(size=12),
        "force": rng.normal(scale=0.1, size=coord.shape),
    }.items():
        np.save(folder / f"{name}.npy", array.reshape(12, -1))
    found = Workspace.find(root / "workspace", create=True)
    options = IngestOptions(workers=0, bundle_bytes=0)
    ingest(found, "deepmd", [root / "al"], dataset="cells", options=options)
    return found


def starts(workspace, structure, where, **options):
    settings = settings_of([structure])
    return start_structures(
        settings,
        ["known"],
        workspace=lambda: workspace,
        seed=1,
        where=where,
        **options,
    )


def test_frames_of_a_dataset_are_starts_without_their_labels(workspace, tmp_path):
    found = starts(workspace, FRAMES, tmp_path)
    assert found.frames.nframes == 12
    assert not found.frames.has_energy.any()
    assert not found.frames.has_force.any()
    few = starts(workspace, FRAMES | {"most": 5}, tmp_path)
    assert few.frames.nframes == 5
    assert len(set(few.origins)) == 5
    assert all(one.startswith("Al4 from cells-v1:") for one in few.origins)


def test_frames_of_a_dataset_are_varied_like_any_cell(workspace, tmp_path):
    varied = FRAMES | {
        "most": 2,
        "repeat": [2, 1, 1],
        "substitute": {"elements": ["Al", "Mg"], "fractions": [0.5]},
    }
    found = starts(workspace, varied, tmp_path)
    assert found.frames.natoms.tolist() == [8, 8]
    assert np.unique(found.frames.z, return_counts=True)[1].tolist() == [8, 8]


def test_datasets_that_are_not_there_are_told(workspace, tmp_path):
    with pytest.raises(DpbenchError, match="there is no such dataset"):
        starts(workspace, FRAMES | {"dataset": "nothing-v1"}, tmp_path)
    with pytest.raises(ConfigError, match="there is no workspace"):
        starts_of(settings_of([FRAMES]), where=tmp_path)
