"""Large DeePMD systems are read in parts, and come to the same dataset."""

import numpy as np
import pytest

from dpbench.io.discover import find_sources
from dpbench.io.ingest import IngestOptions, ingest
from dpbench.io.readers import deepmd_parts, reader_of
from dpbench.store.dataset import open_dataset
from dpbench.store.split_groups import find_groups
from dpbench.store.workspace import Workspace
from tests.io.test_deepmd import made_up, write_system

NSETS = 7


@pytest.fixture
def system(tmp_path):
    sets = []
    for number in range(NSETS):
        arrays = made_up(5)
        arrays["energy"] = arrays["energy"] + number
        sets.append(arrays)
    return write_system(tmp_path / "water", *sets)


@pytest.fixture
def small_parts(monkeypatch, system):
    size = sum(p.stat().st_size for p in (system / "set.000").iterdir())
    monkeypatch.setattr(deepmd_parts, "WHOLE_BYTES", 3 * size)
    monkeypatch.setattr(deepmd_parts, "PART_BYTES", 3 * size)


def sets_of(sources):
    return [[p.name for p in s.paths if p.is_dir()] for s in sources]


def workspace(tmp_path, name):
    return Workspace.find(tmp_path / name, create=True)


def test_small_system_is_one_source(system):
    (source,) = find_sources("deepmd", [system]).sources
    assert source.paths == (system,)


@pytest.mark.usefixtures("small_parts")
def test_large_system_is_parts_of_neighbouring_sets(system):
    sources = find_sources("deepmd", [system]).sources
    names = [f"set.{i:03d}" for i in range(NSETS)]
    assert sets_of(sources) == [names[:3], names[3:6], names[6:]]
    energy = np.concatenate(
        [reader_of(s.format).read(s).frames.energy for s in sources]
    )
    expected = [np.load(system / name / "energy.npy") for name in names]
    np.testing.assert_array_equal(energy, np.concatenate(expected))


@pytest.mark.usefixtures("small_parts")
def test_set_without_a_cell_stays_so_in_parts(system):
    (system / "nopbc").touch()
    for source in find_sources("deepmd", [system]).sources:
        frames = reader_of(source.format).read(source).frames
        assert not frames.pbc.any()
        assert np.isnan(frames.box).all()


def test_parts_and_whole_come_to_the_same_digest(tmp_path, system, monkeypatch):
    whole = ingest(workspace(tmp_path, "w"), "deepmd", [system], dataset="d")
    monkeypatch.setattr(deepmd_parts, "WHOLE_BYTES", 0)
    monkeypatch.setattr(deepmd_parts, "PART_BYTES", 0)
    space = workspace(tmp_path, "p")
    options = IngestOptions(bundle_bytes=0)
    parts = ingest(space, "deepmd", [system], dataset="d", options=options)
    assert parts.n_kept == whole.n_kept == 5 * NSETS
    assert parts.digest == whole.digest
    assert len(open_dataset(space, "d").sources) == NSETS


@pytest.mark.usefixtures("small_parts")
def test_system_that_grew_adds_its_new_frames_alone(tmp_path, system):
    space = workspace(tmp_path, "w")
    first = ingest(space, "deepmd", [system], dataset="d")
    assert not ingest(space, "deepmd", [system], dataset="d").is_new
    before = sets_of(find_sources("deepmd", [system]).sources)
    target = system / "set.007"
    target.mkdir()
    for name, array in made_up(5).items():
        np.save(target / f"{name}.npy", array + 0.5)
    assert sets_of(find_sources("deepmd", [system]).sources)[:2] == before[:2]
    second = ingest(space, "deepmd", [system], dataset="d")
    assert second.is_new
    assert second.n_kept == 5
    assert open_dataset(space, "d").nframes == first.n_kept + 5


@pytest.mark.usefixtures("small_parts")
def test_parts_of_a_system_are_one_trajectory(tmp_path, system):
    space = workspace(tmp_path, "w")
    ingest(space, "deepmd", [system], dataset="d")
    version = open_dataset(space, "d")
    assert len(version.sources) == 3
    (group,) = find_groups(version, np.arange(version.nframes))
    np.testing.assert_array_equal(group.frames, np.arange(version.nframes))
