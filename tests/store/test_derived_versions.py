import numpy as np
import pytest

from dpbench.errors import DatasetError
from dpbench.store import objects
from dpbench.store.dataset import open_dataset
from dpbench.store.segment.write import write_segment
from dpbench.store.staging import staging_folder
from dpbench.store.summary import describe
from dpbench.store.theory.mixture import fingerprint
from dpbench.store.versions import NewContent, derive_version, replace_segments
from tests.store.synthetic import (
    THEORY,
    commit,
    new_workspace,
    random_frames,
    segment_data,
    source_entry,
)

NOW = "2026-01-01T00:00:00+00:00"
FRAMES = random_frames(0, [2, 3, 4, 5, 6])


def piece(name, frames, **options):
    return segment_data(frames, [source_entry(name)], **options)


@pytest.fixture
def workspace(tmp_path):
    workspace = new_workspace(tmp_path)
    commit(workspace, "w", piece("a", FRAMES.select([0, 1, 2])))
    commit(workspace, "w", piece("b", FRAMES.select([3, 4])))
    kept_out = piece("bad", random_frames(9, [2]), role="quarantine", reason="nan")
    commit(workspace, "w", kept_out)
    return workspace


def test_a_derived_version_masks_rows_of_shared_segments(workspace):
    head = open_dataset(workspace, "w")
    reasons = {"outlier": np.array([3, 1]), "twin": np.array([1, 0])}
    version = derive_version(
        workspace, head, exclude=reasons, created_at=NOW, note="clean"
    )
    assert version.label == "w-v4"
    assert version.payload["parent"] == head.object_id
    entries = version.payload["data"]
    assert [e["id"] for e in entries] == [e["id"] for e in head.payload["data"]]
    assert entries[0]["excluded"] == {"outlier": [[1, 2]], "twin": [[0, 1]]}
    assert entries[1]["excluded"] == {"outlier": [[0, 1]]}
    assert version.payload["note"] == "clean"
    kept = FRAMES.select([2, 4])
    np.testing.assert_array_equal(version.read([0, 1]).coord, kept.coord)
    assert version.payload["n_atoms"] == int(kept.natoms.sum())
    assert version.payload["quarantined"] == {"nan": 1}
    assert open_dataset(workspace, "w-v3").digest == head.digest


def test_masks_add_up_over_versions(workspace):
    head = open_dataset(workspace, "w")
    one = derive_version(workspace, head, exclude={"x": np.array([1])}, created_at=NOW)
    two = derive_version(workspace, one, exclude={"x": np.array([0])}, created_at=NOW)
    assert two.payload["data"][0]["excluded"] == {"x": [[0, 2]]}
    kept = FRAMES.select([2, 3, 4])
    np.testing.assert_array_equal(two.read(range(3)).coord, kept.coord)


def test_a_version_that_is_no_longer_the_newest_is_refused(workspace):
    head = open_dataset(workspace, "w")
    out = {"x": np.array([1])}
    derive_version(workspace, head, exclude=out, created_at=NOW)
    with pytest.raises(DatasetError, match="w-v3: is not the newest version, w-v4"):
        derive_version(workspace, head, exclude=out, created_at=NOW)
    assert objects.version_numbers(workspace, "w") == [1, 2, 3, 4]


def test_leaving_out_a_level_of_theory_ends_a_mixture(tmp_path):
    workspace = new_workspace(tmp_path)
    other = {**THEORY, "functional": "PBE"}
    frames = random_frames(0, [2, 3, 2, 3])
    source = {**source_entry("b"), "theory": fingerprint(other)}
    commit(
        workspace,
        "w",
        piece("a", frames.select([0, 1])),
        segment_data(frames.select([2, 3]), [source]),
        theories=(THEORY, other),
        allow_mixed_theory=True,
    )
    head = open_dataset(workspace, "w")
    assert [m["key"] for m in head.payload["mixed_theory"]] == ["functional"]
    one = derive_version(workspace, head, exclude={"x": np.array([2])}, created_at=NOW)
    assert one.payload["mixed_theory"] == head.payload["mixed_theory"]
    pure = derive_version(workspace, one, exclude={"x": np.array([2])}, created_at=NOW)
    assert "mixed_theory" not in pure.payload
    assert [s.n_frames for s in pure.sources] == [2, 0]
    assert len(describe(pure)["theories"]) == 1
    again = commit(workspace, "w", piece("c", random_frames(7, [4])))
    assert again.version.nframes == 3


def test_leaving_a_whole_source_out_leaves_it_known(workspace):
    head = open_dataset(workspace, "w")
    gone = {"x": np.array([0, 1, 2])}
    version = derive_version(workspace, head, exclude=gone, created_at=NOW)
    assert [source.n_frames for source in version.sources] == [0, 2]


@pytest.mark.parametrize(
    ("frames", "message"),
    [([], "no frame would be left out"), (range(5), "all 5"), ([7], "names frame 7")],
)
def test_excluding_nothing_everything_or_what_is_not_there_is_refused(
    workspace, frames, message
):
    head = open_dataset(workspace, "w")
    index = np.array(frames, dtype=np.int64)
    with pytest.raises(DatasetError, match=message):
        derive_version(workspace, head, exclude={"x": index}, created_at=NOW)
    assert objects.version_numbers(workspace, "w") == [1, 2, 3]


def replaced(workspace, frames):
    head = open_dataset(workspace, "w")
    with staging_folder(workspace) as staging:
        data = write_segment(staging, piece("packed", frames))
        content = NewContent(
            staging=staging, data=(data,), quarantine=(), theories=(THEORY,)
        )
        return head, replace_segments(workspace, head, content, created_at=NOW)


def test_replaced_segments_hold_the_same_content(workspace):
    head, version = replaced(workspace, FRAMES)
    assert version.digest == head.digest
    assert (version.label, len(version.payload["data"])) == ("w-v4", 1)
    assert version.payload["parent"] == head.object_id
    assert version.payload["quarantine"] == head.payload["quarantine"]
    np.testing.assert_array_equal(version.read(range(5)).coord, FRAMES.coord)


def test_segments_of_other_content_are_refused(workspace):
    with pytest.raises(DatasetError, match="expected the same frames"):
        replaced(workspace, FRAMES.select([0, 1, 2, 3]))
    assert objects.version_numbers(workspace, "w") == [1, 2, 3]
