import pickle
import subprocess
import sys

import numpy as np
import pytest

import dpbench
from dpbench.errors import DatasetError
from dpbench.frames import ATOM_FIELDS, FRAME_FIELDS, concatenate
from dpbench.store.dataset import open_dataset
from dpbench.store.segment import layout
from tests.store.synthetic import (
    commit,
    new_workspace,
    random_frames,
    segment_data,
    source_entry,
    trajectories,
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Three segments, of which the second repeats frames of the first."""
    workspace = new_workspace(tmp_path_factory.mktemp("tree"))
    first = random_frames(0, [3, 4, 5, 2], dtype=np.float32)
    other = random_frames(1, [6, 1, 4])
    again = concatenate([other, first.select([1, 0]), random_frames(2, [2])])
    both = segment_data(
        again,
        [source_entry("b", path="runs/b.out"), source_entry("c")],
        source_id=[0, 0, 0, 1, 1, 1],
    )
    commit(workspace, "d", segment_data(first, [source_entry("a")]), both)
    trajectories(workspace, "other", [2])
    return workspace


@pytest.fixture(scope="module")
def version(workspace):
    version = open_dataset(workspace, "d")
    assert version.nframes == 8
    return version


@pytest.fixture(scope="module")
def tree(workspace):
    return dpbench.open_dataset("d", workspace=workspace.root)


def test_tree_holds_the_frames_of_the_version_and_no_masked_row(version, tree):
    frames = version.read(range(version.nframes))
    for name in ATOM_FIELDS:
        np.testing.assert_array_equal(tree["atoms"][name], getattr(frames, name))
    for name in (*FRAME_FIELDS, "atom_offset"):
        np.testing.assert_array_equal(tree["frames"][name], getattr(frames, name))
    for name in ("labels", "step", "n_scf", "hash"):
        np.testing.assert_array_equal(tree["frames"][name], version.facts[name])
    np.testing.assert_array_equal(tree["frames/charge"], version.charge)
    np.testing.assert_array_equal(tree["frames/multiplicity"], version.multiplicity)


def test_frames_point_to_their_sources_and_compositions(version, tree):
    source = tree["frames/source_id"].to_numpy()
    np.testing.assert_array_equal(source, version.source_of)
    paths = tree["sources/path"].to_numpy()[source]
    assert paths.tolist() == [version.sources[i].path for i in version.source_of]
    system = tree["frames/system_id"].to_numpy()
    formulas = tree["compositions/formula"].to_numpy()[system]
    assert tuple(formulas) == version.formulas


def test_dimensions_units_and_attributes_are_those_of_the_store(version, tree):
    per_frame = layout.FRAMES | layout.OPTIONAL_FRAMES
    for group, specs in (("frames", per_frame), ("atoms", layout.ATOMS)):
        assert set(tree[group].data_vars) == set(specs)
        for name, spec in specs.items():
            array = tree[group][name]
            assert array.dims == spec.dims
            assert array.attrs.get("units") == spec.units
            assert array.attrs["description"] == spec.description
    assert tree.name == version.label == "d-v1"
    assert tree.attrs["digest"] == version.digest
    assert tree.attrs["n_atoms"] == tree["atoms"].sizes["atom"]


def test_nothing_is_read_before_it_is_computed(tmp_path):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "d", [5])
    next(workspace.stores.glob("*/segment.zarr/atoms/z/c/0")).unlink()
    tree = dpbench.open_dataset("d", workspace=workspace.root)
    assert all(
        array.chunks for group in ("atoms", "frames") for array in tree[group].values()
    )
    assert np.isfinite(float(tree["frames/energy"].mean()))
    with pytest.raises(DatasetError, match="cannot be read"):
        tree["atoms/z"].compute()


def test_slices_across_segments_and_masked_rows(version, tree):
    coord = version.read(range(version.nframes)).coord
    for start, stop in [(0, 3), (10, 17), (13, 26), (5, 5)]:
        np.testing.assert_array_equal(
            tree["atoms/coord"][start:stop, 1:], coord[start:stop, 1:]
        )


def test_blocks_can_be_sent_to_other_processes(tree):
    copy = pickle.loads(pickle.dumps(tree["atoms/force"].data))
    np.testing.assert_array_equal(copy.compute(), tree["atoms/force"])


def test_importing_dpbench_loads_nothing():
    script = (
        "import sys, dpbench\n"
        "assert callable(dpbench.open_dataset)\n"
        "assert not {'numpy', 'xarray', 'dask', 'sqlalchemy', 'torch'} & {*sys.modules}"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
