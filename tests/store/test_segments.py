import json

import numpy as np
import pytest
import xarray
import zarr

from dpbench.errors import DatasetError
from dpbench.store.segment import layout
from dpbench.store.segment.direct import MappedArray, ZarrArray, open_array
from dpbench.store.segment.read import Segment
from dpbench.store.segment.write import compositions, write_segment
from tests.store.synthetic import (
    commit,
    new_workspace,
    random_frames,
    segment_data,
    source_entry,
)

COUNTS = [3, 1, 4, 2, 5]


@pytest.fixture
def segment(tmp_path):
    workspace = new_workspace(tmp_path)
    data = segment_data(random_frames(0, COUNTS), [source_entry("a")])
    return Segment(workspace, write_segment(workspace.stores, data))


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of 6 rows in chunks of 2, so that frames straddle them."""
    monkeypatch.setattr(layout, "CHUNK_ROWS", 2)
    monkeypatch.setattr(layout, "SHARD_ROWS", 6)


def test_xarray_shows_dimensions_and_units(segment):
    tree = xarray.open_datatree(
        segment.folder / layout.GROUP, engine="zarr", consolidated=False
    )
    assert tree["atoms"].ds["coord"].dims == ("atom", "axis")
    assert tree["atoms"].ds["coord"].attrs["units"] == "angstrom"
    assert tree["frames"].ds["virial"].dims == ("frame", "axis", "axis_2")
    assert tree.attrs["n_frames"] == len(COUNTS)
    tree.close()


def test_segment_is_valid_zarr_with_every_array(segment):
    frames = random_frames(0, COUNTS)
    group = zarr.open_group(segment.folder / layout.GROUP, mode="r")
    for name in ("coord", "force", "z"):
        np.testing.assert_array_equal(group[f"atoms/{name}"][:], getattr(frames, name))
    for name in ("box", "pbc", "energy", "virial", "atom_offset"):
        np.testing.assert_array_equal(group[f"frames/{name}"][:], getattr(frames, name))
    np.testing.assert_array_equal(group["frames/hash"][:], segment.facts["hash"])
    assert group["frames/labels"][:].tolist() == [15] * len(COUNTS)


@pytest.mark.usefixtures("small_shards")
def test_direct_reader_equals_zarr_python_across_shards(tmp_path):
    workspace = new_workspace(tmp_path)
    data = segment_data(random_frames(1, COUNTS), [source_entry("a")])
    segment = Segment(workspace, write_segment(workspace.stores, data))
    group = zarr.open_group(segment.folder / layout.GROUP, mode="r")
    reader = segment.arrays["coord"]
    assert isinstance(reader, MappedArray)
    expected = group["atoms/coord"][:]
    for start in range(15):
        for stop in range(start, 16):
            out = np.empty((stop - start, 3))
            reader.copy(start, stop, out)
            np.testing.assert_array_equal(out, expected[start:stop])


def test_other_codecs_are_read_through_zarr_python(tmp_path):
    values = np.arange(30.0).reshape(10, 3)
    array = zarr.create_array(tmp_path / "x", shape=(10, 3), chunks=(4, 3), dtype="f8")
    array[:] = values
    reader = open_array(tmp_path / "x", rows=10, shape=(3,))
    out = np.empty((5, 3))
    reader.copy(2, 7, out)
    assert isinstance(reader, ZarrArray)
    np.testing.assert_array_equal(out, values[2:7])


def test_labels_say_what_is_missing(tmp_path):
    workspace = new_workspace(tmp_path)
    frames = random_frames(2, [2, 2, 2, 2])
    frames.energy[0] = np.nan
    frames.force[3] = np.nan
    frames.virial[2] = np.nan
    frames.box[3] = np.nan
    data = segment_data(frames, [source_entry("a")])
    segment = Segment(workspace, write_segment(workspace.stores, data))
    assert segment.facts["labels"].tolist() == [14, 13, 11, 7]


def test_compositions_are_hill_formulas():
    frames = random_frames(0, [3, 2])
    frames.z[:] = [8, 1, 1, 6, 1]
    index, names = compositions(frames)
    assert [names[i] for i in index] == ["H2O", "CH"]


def test_writing_again_leaves_the_sealed_segment_alone(segment):
    data = segment_data(random_frames(0, COUNTS), [source_entry("a")])
    before = segment.folder.stat().st_ino
    assert write_segment(segment.folder.parent, data) == segment.folder.name
    assert segment.folder.stat().st_ino == before
    assert not list(segment.folder.parent.glob("*.tmp"))


def test_verification_names_the_changed_file(segment):
    assert segment.damaged_files() == []
    path = segment.folder / layout.GROUP / "atoms/force/c/0/0"
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    assert segment.damaged_files() == [path]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-30])


def empty(path):
    path.write_bytes(b"")


def lie(path):
    meta = json.loads(path.read_text())
    meta["shape"][0] += 1
    path.write_text(json.dumps(meta))


def open_everything(segment):
    assert segment.facts is not None
    assert segment.arrays


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("segment.zarr/atoms/coord/c/0/0", truncate),
        ("segment.zarr/atoms/coord/c/0/0", empty),
        ("segment.zarr/frames/energy/c/0", lambda path: path.unlink()),
        ("segment.zarr/frames/box/zarr.json", lambda path: path.unlink()),
        ("segment.zarr/frames/box/zarr.json", truncate),
        ("facts.npy", truncate),
        ("facts.npy", lambda path: path.unlink()),
    ],
)
def test_damaged_or_missing_files_are_named(segment, name, fault):
    fault(segment.folder / name)
    expected = name.rsplit("/", 1)[-1].replace(".", r"\.")
    with pytest.raises(DatasetError, match=expected):
        open_everything(segment)


def test_shape_that_does_not_fit_is_refused(segment):
    lie(segment.folder / "segment.zarr/atoms/z/zarr.json")
    with pytest.raises(DatasetError, match="has shape"):
        segment.arrays["z"]


def test_newer_segment_format_is_refused(segment, tmp_path):
    path = segment.folder / "segment.json"
    manifest = json.loads(path.read_text())
    manifest["format"] = 99
    path.write_text(json.dumps(manifest))
    with pytest.raises(DatasetError, match="Update dpbench"):
        Segment(new_workspace(tmp_path), segment.folder.name)


def test_chunks_out_of_order_are_left_to_zarr_python(tmp_path):
    crc32c = pytest.importorskip("google_crc32c").value
    values = np.arange(12.0).reshape(4, 3)
    array = zarr.create_array(
        tmp_path / "x",
        shape=(4, 3),
        chunks=(2, 3),
        shards=(4, 3),
        dtype="f8",
        compressors=None,
    )
    array[:] = values
    path = tmp_path / "x" / "c" / "0" / "0"
    data = path.read_bytes()
    half = 2 * 3 * 8
    index = np.array([[half, half], [0, half]], dtype="<u8").tobytes()
    swapped = data[half : 2 * half] + data[:half] + index
    path.write_bytes(swapped + np.uint32(crc32c(swapped[-32:])).tobytes())
    reader = open_array(tmp_path / "x", rows=4, shape=(3,))
    assert isinstance(reader, ZarrArray)
    out = np.empty((4, 3))
    reader.copy(0, 4, out)
    np.testing.assert_array_equal(out, values)


def test_two_datasets_share_a_segment(tmp_path):
    workspace = new_workspace(tmp_path)
    for name in ("one", "two"):
        commit(
            workspace, name, segment_data(random_frames(0, [2]), [source_entry("a")])
        )
    assert len(list(workspace.stores.iterdir())) == 1
