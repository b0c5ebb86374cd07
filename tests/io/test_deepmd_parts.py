"""Large DeePMD systems are read in parts, and come to the same dataset."""

import numpy as np
import pytest

from dpbench.errors import SourceError
from dpbench.io import ingest_plan
from dpbench.io.discover import find_sources
from dpbench.io.ingest import IngestOptions, ingest
from dpbench.io.parsed import Quarantine
from dpbench.io.readers import reader_of
from dpbench.io.readers.deepmd import parts as deepmd_parts
from dpbench.store.dataset import open_dataset
from dpbench.store.files import sha256_of_file
from dpbench.store.splits.groups import find_groups
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
    size = sum(p.stat().st_size for p in (system / "set.000").iterdir())
    monkeypatch.setattr(deepmd_parts, "WHOLE_BYTES", size)
    monkeypatch.setattr(deepmd_parts, "PART_BYTES", size)
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


@pytest.fixture
def long_set(tmp_path, monkeypatch):
    """A system of one set that is cut into ranges of frames."""
    system = write_system(tmp_path / "long", made_up(23))
    size = sum(p.stat().st_size for p in (system / "set.000").iterdir())
    monkeypatch.setattr(deepmd_parts, "WHOLE_BYTES", size - 1)
    monkeypatch.setattr(deepmd_parts, "PART_BYTES", size // 4)
    return system


def test_large_set_is_read_in_ranges_of_frames(long_set, tmp_path, monkeypatch):
    sources = find_sources("deepmd", [long_set]).sources
    assert [s.member for s in sources] == ["0:5", "5:10", "10:15", "15:20", "20:23"]
    space = workspace(tmp_path, "w")
    parts = ingest(space, "deepmd", [long_set], dataset="d")
    assert not ingest(space, "deepmd", [long_set], dataset="d").is_new
    version = open_dataset(space, "d")
    assert len(version.sources) == 5
    assert len(find_groups(version, np.arange(23))) == 1
    energy = np.load(long_set / "set.000/energy.npy")
    np.testing.assert_array_equal(version.read(range(23)).energy, energy)
    monkeypatch.undo()
    whole = ingest(workspace(tmp_path, "v"), "deepmd", [long_set], dataset="d")
    assert whole.digest == parts.digest


def test_label_that_is_too_short_spoils_every_range(long_set):
    energy = np.load(long_set / "set.000/energy.npy")
    np.save(long_set / "set.000/energy.npy", energy[:20])
    for source in find_sources("deepmd", [long_set]).sources:
        parsed = reader_of(source.format).read(source)
        assert set(parsed.quarantine) == {Quarantine.BAD_SHAPE}


def test_set_that_cannot_be_measured_is_one_source_and_named(long_set):
    path = long_set / "set.000/coord.npy"
    path.write_bytes(path.read_bytes()[:100])
    (source,) = find_sources("deepmd", [long_set]).sources
    with pytest.raises(SourceError, match="is damaged"):
        reader_of(source.format).read(source)


def test_each_file_of_a_large_set_is_hashed_once(long_set, tmp_path, monkeypatch):
    hashed = []

    def count(path):
        hashed.append(path)
        return sha256_of_file(path)

    monkeypatch.setattr(ingest_plan, "sha256_of_file", count)
    monkeypatch.setattr(ingest_plan, "ThreadPoolExecutor", OneThread)
    sources = find_sources("deepmd", [long_set]).sources
    planned, _ = ingest_plan.plan_sources(sources, None, threads=1)
    assert len(hashed) == len(set(hashed)) == 7
    total = sum(p.stat().st_size for p in long_set.rglob("*.*") if p.is_file())
    assert total - 5 <= sum(source.n_bytes for source in planned) <= total
    assert len({source.id for source in planned}) == 5


class OneThread:
    """A pool that does the work itself, in order."""

    def __init__(self, max_workers):
        self.map = map

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None
