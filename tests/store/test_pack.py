import shutil
from dataclasses import fields

import numpy as np
import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.errors import DatasetError
from dpbench.frames import Frames, concatenate
from dpbench.store import pack
from dpbench.store.dataset import open_dataset
from dpbench.store.gather.buffer import FrameBuffer
from dpbench.store.pack import pack as pack_dataset
from dpbench.store.segment import layout
from dpbench.store.splits.making import find_split, make_split, save_split
from dpbench.store.versions import derive_version
from dpbench.store.workspace import Workspace
from tests.store.synthetic import (
    commit,
    new_workspace,
    random_frames,
    segment_data,
    source_entry,
    trajectories,
)

NOW = "2026-01-02T00:00:00+00:00"


@pytest.fixture
def workspace(tmp_path):
    """Five segments of a dataset: one repeats frames, one frame is quarantined."""
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "d", [3, 2, 4])
    again = concatenate([random_frames(0, [4] * 3), random_frames(7, [5, 6])])
    bad = segment_data(
        random_frames(8, [2]),
        [source_entry("bad")],
        role="quarantine",
        reason="unconverged",
    )
    two = segment_data(
        again,
        [source_entry("e"), source_entry("f")],
        source_id=[0, 0, 0, 1, 1],
    )
    commit(workspace, "d", two, bad)
    return workspace


def equal(one: Frames, other: Frames) -> None:
    for field in fields(Frames):
        np.testing.assert_array_equal(
            getattr(one, field.name), getattr(other, field.name)
        )


def same_content(one, other):
    assert other.digest == one.digest
    equal(one.read(range(one.nframes)), other.read(range(other.nframes)))
    for name in layout.FACTS_DTYPE.names:
        if name not in ("source_id", "system_id"):
            np.testing.assert_array_equal(one.facts[name], other.facts[name])
    assert one.formulas == other.formulas
    for index in range(one.nframes):
        mine, theirs = (v.sources[v.source_of[index]] for v in (one, other))
        assert mine == theirs
    assert other.payload["quarantined"] == one.payload["quarantined"]
    equal(one.quarantine().frames, other.quarantine().frames)


@pytest.mark.parametrize("compress", [None, "zstd", "lz4"])
def test_packed_version_has_the_same_content_in_one_segment(workspace, compress):
    before = open_dataset(workspace, "d")
    report = pack_dataset(workspace, "d", compress=compress, created_at=NOW)
    after = open_dataset(workspace, "d")
    assert report.is_new
    assert report.segments == (4, 1)
    assert (before.label, after.label) == ("d-v2", "d-v3")
    same_content(before, after)
    assert after.is_mapped == (compress is None)
    equal(after.read([4, 0], FrameBuffer()), before.read([4, 0]))
    assert not pack_dataset(workspace, "d", compress=compress, created_at=NOW).is_new
    same_content(open_dataset(workspace, "d-v2"), after)


def test_every_source_stays_known(workspace):
    before = open_dataset(workspace, "d")
    pack_dataset(workspace, "d", created_at=NOW)
    after = open_dataset(workspace, "d")
    assert [s.id for s in after.sources] == [s.id for s in before.sources]
    assert [s.n_frames for s in after.sources] == [s.n_frames for s in before.sources]


def test_frames_left_out_by_a_flag_stay_out(workspace):
    head = open_dataset(workspace, "d")
    exclude = {"outlier": np.array([0, 1, 2, 6])}
    derived = derive_version(workspace, head, exclude=exclude, created_at=NOW)
    pack_dataset(workspace, "d", created_at=NOW)
    after = open_dataset(workspace, "d")
    same_content(derived, after)
    assert [s.id for s in after.sources] == [s.id for s in head.sources]


def test_large_whole_segments_are_shared(workspace, monkeypatch):
    before = [s.id for s in open_dataset(workspace, "d").segments]
    monkeypatch.setattr(pack, "TARGET_BYTES", 1)
    report = pack_dataset(workspace, "d", created_at=NOW)
    after = [s.id for s in open_dataset(workspace, "d").segments]
    assert report.segments == (4, 4)
    assert after[:3] == before[:3]
    assert after[3] != before[3]
    same_content(open_dataset(workspace, "d-v2"), open_dataset(workspace, "d"))


def test_packing_there_and_back_gives_plain_segments(workspace):
    pack_dataset(workspace, "d", compress="zstd", chunk_rows=8, created_at=NOW)
    packed = open_dataset(workspace, "d")
    meta = packed.segments[0].folder / layout.GROUP / "atoms/coord/zarr.json"
    assert '"blosc"' in meta.read_text()
    pack_dataset(workspace, "d", created_at=NOW)
    back = open_dataset(workspace, "d")
    assert back.is_mapped
    same_content(packed, back)


def test_split_of_the_version_before_fits_the_packed_one(workspace):
    before = open_dataset(workspace, "d")
    split = make_split(before)
    save_split(before, split)
    pack_dataset(workspace, "d", created_at=NOW)
    after = open_dataset(workspace, "d")
    found = find_split(after)
    assert found is not None
    assert found.digest == split.digest


def test_version_that_was_made_meanwhile_is_not_overwritten(workspace, monkeypatch):
    write = pack.write_segment

    def slow(*args, **options):
        extra = segment_data(random_frames(9, [3]), [source_entry("late")])
        commit(workspace, "d", extra)
        return write(*args, **options)

    monkeypatch.setattr(pack, "write_segment", slow)
    with pytest.raises(DatasetError, match="is not the newest version"):
        pack_dataset(workspace, "d", created_at=NOW)
    assert open_dataset(workspace, "d").nframes == 12


def test_unknown_dataset_is_refused(workspace):
    with pytest.raises(DatasetError, match="no such dataset"):
        pack_dataset(workspace, "e", created_at=NOW)


def test_command_says_what_it_did(workspace):
    run = CliRunner().invoke(
        cli, ["--workspace", str(workspace.root), "dataset", "pack", "d"]
    )
    assert run.exit_code == 0, run.output
    assert "d-v3: 4 segments" in run.output
    again = CliRunner().invoke(
        cli, ["--workspace", str(workspace.root), "dataset", "pack", "d", "--json"]
    )
    assert '"is_new": false' in again.output


def test_segments_of_an_object_store_are_packed_and_shared(tmp_path, monkeypatch):
    (tmp_path / "store").mkdir()
    root = tmp_path / "ws"
    root.mkdir()
    url = (tmp_path / "store").as_uri()
    (root / "dpbench.toml").write_text(f'stores = "{url}"\n')
    workspace = Workspace.find(root, create=True)
    trajectories(workspace, "d", [3, 4])
    again = concatenate([random_frames(0, [4]), random_frames(7, [5, 6])])
    commit(workspace, "d", segment_data(again, [source_entry("e")]))
    shutil.rmtree(root / "cache")
    workspace = Workspace.find(root)
    monkeypatch.setattr(pack, "TARGET_BYTES", 1)
    assert not open_dataset(workspace, "d").is_mapped
    before = open_dataset(workspace, "d")
    report = pack_dataset(workspace, "d", created_at=NOW)
    assert report.segments == (3, 3)
    after = open_dataset(workspace, "d")
    assert [s.id for s in after.segments][:2] == [s.id for s in before.segments][:2]
    same_content(before, after)
