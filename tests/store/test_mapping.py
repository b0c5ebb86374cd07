import gc
import resource
from pathlib import Path

import numpy as np
import pytest

from dpbench.store.dataset import open_dataset
from dpbench.store.segment.mapping import SMALL, map_file
from tests.store.synthetic import new_workspace, trajectories


def maps_of(path):
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sum(str(path) in line for line in lines)


def open_files():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("size", [0, 1, SMALL, SMALL + 1, 1_000_003])
def test_mapped_bytes_are_those_of_the_file(tmp_path, size):
    content = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    content.tofile(tmp_path / "x")
    found = map_file(tmp_path / "x")
    np.testing.assert_array_equal(found, content)
    assert not found.flags.writeable


def test_map_goes_with_its_last_view_and_no_file_stays_open(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(10 * SMALL))
    before = open_files()
    view = map_file(path)[5:].reshape(-1, 5)[1:]
    gc.collect()
    assert maps_of(path) == 1
    assert open_files() == before
    assert view.sum() == 0
    del view
    gc.collect()
    assert maps_of(path) == 0


def test_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        map_file(tmp_path / "x")


def test_more_segments_than_open_files_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("dpbench.store.segment.mapping.SMALL", 0)
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "t", [1] * 12)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = open_files()
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 12, hard))
    try:
        frames = open_dataset(workspace, "t").read(range(12))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert frames.nframes == 12
