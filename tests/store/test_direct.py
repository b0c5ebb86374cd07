"""Arrays that are not laid out as dpbench writes them are read all the same."""

import errno
import json
import shutil
from dataclasses import fields

import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec, ZstdCodec

from dpbench.errors import DatasetError
from dpbench.frames import Frames
from dpbench.store.dataset import open_dataset
from dpbench.store.files import sha256_of_tree
from dpbench.store.gather.buffer import FrameBuffer
from dpbench.store.segment import layout
from dpbench.store.segment.direct import open_array
from dpbench.store.segment.manifest import manifest_digest, manifest_text
from tests.store.synthetic import new_workspace, random_frames, trajectories

LENGTHS = [6, 3]

FORMS = {
    "compressed": {"chunks": (8, 3), "shards": (16, 3), "compressors": ZstdCodec()},
    "gzip": {"chunks": (5, 3), "compressors": zarr.codecs.GzipCodec()},
    "unsharded": {"chunks": (7, 3), "compressors": None},
    "cut across": {"chunks": (4, 1), "shards": (8, 3), "compressors": None},
    "big endian": {
        "chunks": (8, 3),
        "shards": (16, 3),
        "compressors": None,
        "serializer": BytesCodec(endian="big"),
    },
    "filtered": {
        "chunks": (8, 3),
        "shards": (8, 3),
        "compressors": None,
        "filters": [zarr.codecs.TransposeCodec(order=(1, 0))],
    },
    "dotted keys": {
        "chunks": (8, 3),
        "shards": (8, 3),
        "compressors": None,
        "chunk_key_encoding": {"name": "default", "separator": "."},
    },
}


@pytest.fixture
def workspace(tmp_path):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "d", LENGTHS)
    return workspace


def rewrite(workspace, values=None, **form):
    """Write the coordinates of the first segment in another form."""
    folder = open_dataset(workspace, "d").segments[0].folder
    path = folder / layout.GROUP / "atoms" / "coord"
    old = zarr.open_array(path, mode="r")[:] if values is None else values
    shutil.rmtree(path)
    array = zarr.create_array(path, shape=old.shape, dtype=old.dtype, **form)
    array[:] = old
    manifest = json.loads((folder / "segment.json").read_text())
    manifest["files"] = sha256_of_tree(folder)
    manifest["manifest_digest"] = manifest_digest(manifest)
    (folder / "segment.json").write_text(manifest_text(manifest))
    return path


def equal(one: Frames, other: Frames) -> None:
    for field in fields(Frames):
        np.testing.assert_array_equal(
            getattr(one, field.name), getattr(other, field.name)
        )


@pytest.mark.parametrize("form", FORMS)
def test_other_forms_go_through_zarr_python(workspace, form):
    index = [8, 0, 5, 5, 1, 2, 3]
    version = open_dataset(workspace, "d")
    assert version.is_mapped
    expected = version.read(index)
    rewrite(workspace, **FORMS[form])
    version = open_dataset(workspace, "d")
    assert not version.is_mapped
    equal(version.read(index), expected)
    equal(version.read(index, FrameBuffer()), expected)
    equal(version.read([8, 8], FrameBuffer()), expected.select([0, 0]))


def test_chunk_of_fill_values_that_was_not_written_is_made_up(workspace):
    values = random_frames(0, [4] * 6).coord
    values[8:16] = np.nan
    path = rewrite(
        workspace,
        values,
        chunks=(8, 3),
        shards=(24, 3),
        compressors=None,
        fill_value=np.nan,
        config={"write_empty_chunks": False},
    )
    assert (path / "c/0/0").stat().st_size < values.nbytes
    version = open_dataset(workspace, "d")
    assert not version.is_mapped
    np.testing.assert_array_equal(version.read(range(6)).coord, values)


@pytest.mark.parametrize("form", ["compressed", "gzip"])
def test_missing_file_is_never_read_as_fill_values(workspace, form):
    path = rewrite(workspace, **FORMS[form]) / "c/1/0"
    path.unlink()
    with pytest.raises(DatasetError, match="c/1/0: is missing"):
        open_dataset(workspace, "d").read(range(6))


def test_damage_that_zarr_python_meets_is_a_dataset_error(workspace):
    path = rewrite(workspace, **FORMS["compressed"]) / "c/0/0"
    data = bytearray(path.read_bytes())
    data[4:40] = bytes(36)
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="coord"):
        open_dataset(workspace, "d").read([0])


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [24, 4]},
        {"shape": [10**15, 3]},
        {"shape": None},
        {"codecs": []},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0, 3]}}},
        {"data_type": "complex999"},
        {"data_type": ["<f8", "<f8"]},
    ],
)
def test_metadata_that_does_not_fit_is_refused_in_one_line(workspace, change):
    folder = open_dataset(workspace, "d").segments[0].folder
    path = folder / layout.GROUP / "atoms" / "coord" / "zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DatasetError, match="coord") as caught:
        open_dataset(workspace, "d").read([0])
    assert "\n" not in str(caught.value)


def test_shard_of_more_chunks_than_its_file_can_index_is_refused(workspace):
    folder = open_dataset(workspace, "d").segments[0].folder
    path = folder / layout.GROUP / "atoms" / "coord" / "zarr.json"
    meta = json.loads(path.read_text())
    meta["chunk_grid"]["configuration"]["chunk_shape"] = [24 * 10**9, 3]
    path.write_text(json.dumps(meta))
    with pytest.raises(DatasetError, match="too few for its index"):
        open_array(path.parent, rows=24, shape=(3,))


@pytest.mark.parametrize("entry", [0, 8], ids=["offset", "length"])
@pytest.mark.parametrize("value", [1, 2**40, 2**64 - 2])
def test_index_that_points_elsewhere_is_never_followed(workspace, entry, value):
    folder = open_dataset(workspace, "d").segments[0].folder
    path = folder / layout.GROUP / "atoms" / "coord" / "c/0/0"
    data = bytearray(path.read_bytes())
    at = len(data) - 4 - 16 + entry
    data[at : at + 8] = value.to_bytes(8, "little")
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="coord"):
        open_dataset(workspace, "d").read([0], FrameBuffer())


def test_too_many_maps_are_said_to_be_that(workspace, monkeypatch):
    def refuse(path):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr("dpbench.store.segment.direct.map_file", refuse)
    with pytest.raises(DatasetError, match="dpbench dataset pack"):
        open_dataset(workspace, "d").read([0])
