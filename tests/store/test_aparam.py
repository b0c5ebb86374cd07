"""Numbers of atoms (aparam) in the store; data without any stay what they were."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from dpbench.frames import Frames, concatenate, join_aparam
from dpbench.store.dataset import open_dataset
from dpbench.store.diff import diff
from dpbench.store.digests import frame_digests, structure_digests
from dpbench.store.pack import pack
from dpbench.store.segment import layout
from dpbench.store.segment.read import Segment
from dpbench.store.summary import label_counts
from dpbench.store.tree import open_tree
from dpbench.store.verify.run import verify
from tests.store.synthetic import (
    commit,
    new_workspace,
    random_frames,
    segment_data,
    source_entry,
)

NOW = "2026-01-02T00:00:00+00:00"
PLAIN = random_frames(3, [2, 3, 4, 2])


def with_numbers(frames: Frames, width: int, seed: int = 1) -> Frames:
    values = np.random.default_rng(seed).normal(size=(len(frames.z), width))
    return replace(frames, aparam=values)


def digests(frames: Frames, **more) -> np.ndarray:
    none = [""] * frames.nframes
    return frame_digests(frames, theory="t", quarantine=none, **more)


@pytest.fixture
def workspace(tmp_path):
    """One segment without numbers, one with one an atom, one with two and with none."""
    workspace = new_workspace(tmp_path)
    mixed = concatenate([with_numbers(random_frames(5, [3, 2]), 2), PLAIN])
    commit(
        workspace,
        "d",
        segment_data(random_frames(8, [4, 4]), [source_entry("a")]),
        segment_data(with_numbers(random_frames(9, [2, 5]), 1), [source_entry("b")]),
        segment_data(mixed, [source_entry("c")]),
    )
    return workspace


def test_frames_of_other_widths_lie_behind_each_other():
    frames = concatenate([PLAIN, with_numbers(PLAIN, 1), with_numbers(PLAIN, 3)])
    assert frames.aparam.shape == (33, 3)
    assert frames.numb_aparam.tolist() == [0] * 4 + [1] * 4 + [3] * 4
    picked = frames.select([9, 4, 0])
    assert picked.numb_aparam.tolist() == [3, 1, 0]
    assert_array_equal(picked.aparam_of(1), with_numbers(PLAIN, 1).aparam_of(0))
    assert picked.aparam_of(2) is None
    assert concatenate([PLAIN, PLAIN]).aparam is None
    assert join_aparam([None, None], [2, 1]) is None


def test_numbers_must_be_one_row_an_atom():
    with pytest.raises(ValueError, match=r"aparam: shape \(3, 1\)"):
        replace(PLAIN, aparam=np.zeros((3, 1)))


def test_a_digest_knows_the_numbers_and_not_how_they_are_padded():
    own = with_numbers(PLAIN, 2)
    padded = replace(own, aparam=np.pad(own.aparam, ((0, 0), (0, 2)), "constant"))
    padded.aparam[:, 2:] = np.nan
    assert_array_equal(digests(padded), digests(own))
    assert (digests(own) != digests(PLAIN)).any(axis=1).all()
    changed = replace(own, aparam=own.aparam.copy())
    changed.aparam[0, 1] += 1
    differs = (digests(changed) != digests(own)).any(axis=1)
    assert differs.tolist() == [True, False, False, False]
    assert_array_equal(structure_digests(own), structure_digests(PLAIN))


def test_frames_without_numbers_digest_as_ever():
    empty = replace(PLAIN, aparam=np.full((11, 2), np.nan))
    assert_array_equal(digests(empty), digests(PLAIN))


def test_segments_without_numbers_are_written_as_ever(workspace):
    version = open_dataset(workspace, "d")
    plain, one, mixed = version.segments
    assert [s.manifest["format"] for s in version.segments] == [2, 3, 3]
    assert [s.numb_aparam for s in version.segments] == [0, 1, 2]
    assert version.payload["format"] == 2
    assert "aparam" not in plain.manifest
    assert not any("aparam" in name for name in plain.manifest["files"])
    bits = mixed.facts["labels"] & layout.APARAM_BIT
    assert bits.tolist() == [16, 16, 0, 0, 0, 0]
    assert one.array("aparam").dtype == np.float64
    assert label_counts(version)["aparam"] == 4


def test_frames_come_back_and_verify_finds_nothing_wrong(workspace):
    version = open_dataset(workspace, "d")
    frames = version.read(np.arange(version.nframes))
    assert frames.numb_aparam.tolist() == [0, 0, 1, 1, 2, 2, 0, 0, 0, 0]
    b = with_numbers(random_frames(9, [2, 5]), 1)
    assert_array_equal(frames.select([2, 3]).aparam[:, :1], b.aparam)
    assert version.read([0, 1]).aparam is None
    assert not list(verify(workspace, None).findings)


def test_a_changed_number_is_found(workspace):
    version = open_dataset(workspace, "d")
    (path,) = version.segments[1].folder.glob("segment.zarr/atoms/aparam/c/0/0")
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)
    found = list(verify(workspace, None).findings)
    assert any(fault.array == "atoms/aparam" for fault in found)
    assert any("digest of frame 0" in fault.found for fault in found)


def test_packing_keeps_them(workspace):
    before = open_dataset(workspace, "d")
    report = pack(workspace, "d", compress="zstd", created_at=NOW)
    assert report.is_new
    after = open_dataset(workspace, "d")
    assert after.digest == before.digest
    index = np.arange(before.nframes)
    assert_array_equal(after.read(index).aparam, before.read(index).aparam)
    assert [Segment(workspace, s.id).numb_aparam for s in after.segments] == [2]


def test_diff_names_other_numbers(tmp_path):
    workspace = new_workspace(tmp_path)
    own = with_numbers(PLAIN, 1)
    other = replace(own, aparam=own.aparam + 0.25)
    wider = with_numbers(PLAIN, 2)
    for name, frames in (("a", own), ("b", other), ("c", wider), ("p", PLAIN)):
        commit(workspace, name, segment_data(frames, [source_entry(name)]))
    a, b, c, p = (open_dataset(workspace, name) for name in "abcp")
    assert diff(a, a).counts["common"] == 4
    found = diff(a, b)
    assert found.counts["relabelled"] == 4
    assert found.relabelled[0].changed == ("aparam",)
    assert found.largest["aparam"] == pytest.approx(0.25)
    assert diff(a, c).largest == {"aparam": None}
    assert diff(p, a).largest == {"aparam": None}


def test_the_tree_has_them_with_nan_for_none(workspace):
    version = open_dataset(workspace, "d")
    tree = open_tree(version)
    values = tree["atoms/aparam"]
    assert values.dims == ("atom", "aparam")
    frames = version.read(np.arange(version.nframes))
    assert_array_equal(values.to_numpy(), frames.aparam)
    plain = commit(workspace, "p", segment_data(PLAIN, [source_entry("p")]))
    assert "aparam" not in open_tree(plain.version)["atoms"]


def test_charges_enter_beside_them():
    charge = np.array([1.0, 0.0, np.nan, 0.0])
    own = with_numbers(PLAIN, 1)
    charged = digests(own, charge=charge)
    differs = (charged != digests(own)).any(axis=1)
    assert differs.tolist() == [True, False, False, False]
