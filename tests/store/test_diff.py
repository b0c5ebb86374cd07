import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpbench.store.dataset import open_dataset
from dpbench.store.diff import _matches, count_changes, diff
from dpbench.store.theory.mixture import fingerprint
from dpbench.store.versions import derive_version
from tests.store.synthetic import (
    THEORY,
    commit,
    new_workspace,
    random_frames,
    segment_data,
    source_entry,
)

NOW = "2026-01-02T00:00:00+00:00"
FRAMES = random_frames(3, [2, 3, 4, 2, 1])


def piece(name, frames, **options):
    return segment_data(frames, [source_entry(name)], **options)


def relabelled(frames, i, **values):
    """Frames of which one has other labels."""
    copy = frames.select(range(frames.nframes))
    for name, value in values.items():
        getattr(copy, name)[copy.atoms_of(i) if name == "force" else i] = value
    return copy


@pytest.fixture
def workspace(tmp_path):
    workspace = new_workspace(tmp_path)
    commit(workspace, "w", piece("a", FRAMES.select([0, 1, 2])))
    commit(workspace, "w", piece("b", FRAMES.select([3, 4])))
    return workspace


def between(workspace, a, b):
    one, other = open_dataset(workspace, a), open_dataset(workspace, b)
    found = diff(one, other)
    counts = count_changes(workspace, one.payload, other.payload)
    assert {name: found.counts[name] for name in counts} == counts
    return found


def test_added_and_removed_frames_are_named_with_source_and_step(workspace):
    found = between(workspace, "w-v1", "w-v2")
    assert found.counts == {"added": 2, "removed": 0, "relabelled": 0, "common": 3}
    assert [(f.path, f.step, f.natoms) for f in found.added] == [
        ("runs/b.out", 0, 2),
        ("runs/b.out", 1, 1),
    ]
    digests = open_dataset(workspace, "w-v2").frame_digests
    assert found.added[0].digest == digests[3].tobytes().hex()
    back = between(workspace, "w-v2", "w-v1")
    assert back.removed == found.added
    assert between(workspace, "w-v2", "w-v2").counts["common"] == 5


def test_frames_masked_in_a_shared_segment_are_removed(workspace):
    head = open_dataset(workspace, "w")
    derive_version(workspace, head, exclude={"x": np.array([1, 3])}, created_at=NOW)
    found = between(workspace, "w-v2", "w-v3")
    assert [(f.path, f.step) for f in found.removed] == [
        ("runs/a.out", 1),
        ("runs/b.out", 0),
    ]
    assert not found.added


def test_the_same_frames_in_other_segments_are_no_difference(workspace):
    commit(workspace, "v", piece("c", FRAMES.select([4, 2, 0, 1, 3])))
    assert between(workspace, "w", "v").counts["common"] == 5
    commit(workspace, "u", piece("d", FRAMES.select([4, 2, 0])))
    assert between(workspace, "w", "u").counts == {
        "added": 0,
        "removed": 2,
        "relabelled": 0,
        "common": 3,
    }


@pytest.mark.parametrize(
    ("values", "changed"),
    [
        ({"energy": 5.0}, ("energy",)),
        ({"force": 0.5}, ("force",)),
        ({"virial": 1.0}, ("virial",)),
        ({"energy": np.nan, "force": np.nan}, ("energy", "force")),
    ],
)
def test_the_same_structure_with_another_label_is_relabelled(
    workspace, values, changed
):
    commit(workspace, "v", piece("c", relabelled(FRAMES, 2, **values)))
    found = between(workspace, "w", "v")
    assert found.counts == {"added": 0, "removed": 0, "relabelled": 1, "common": 4}
    pair = found.relabelled[0]
    assert pair.changed == changed
    assert (pair.before.path, pair.before.step) == ("runs/a.out", 2)
    assert (pair.after.path, pair.after.step) == ("runs/c.out", 2)


def test_another_level_of_theory_or_quarantine_is_relabelled(workspace):
    pbe = {**THEORY, "functional": "PBE"}
    source = source_entry("c", theory=fingerprint(pbe))
    commit(workspace, "v", segment_data(FRAMES, [source]), theories=[pbe])
    found = between(workspace, "w", "v")
    assert {pair.changed for pair in found.relabelled} == {("theory",)}
    assert found.counts["relabelled"] == 5
    kept = piece("d", FRAMES.select([0, 1, 2, 3]))
    aside = piece("e", FRAMES.select([4]), role="quarantine", reason="scf")
    commit(workspace, "u", kept, aside)
    pair = between(workspace, "w", "u").relabelled[0]
    assert pair.changed == ("quarantine",)
    assert (pair.before.quarantine, pair.after.quarantine) == ("", "scf")


def test_another_charge_is_relabelled(workspace):
    charged = {"charge": np.full(5, 1.0), "multiplicity": np.full(5, 2, np.int16)}
    plain = piece("c", FRAMES)
    digests = charged_digests(FRAMES, **charged)
    commit(workspace, "v", with_electrons(plain, digests, **charged))
    found = between(workspace, "w", "v")
    assert {pair.changed for pair in found.relabelled} == {("charge", "multiplicity")}
    pair = found.relabelled[0]
    assert pair.electrons == {"charge": (None, 1.0), "multiplicity": (None, 2.0)}
    assert pair.largest == found.largest == {}


def test_the_largest_difference_of_each_label_is_told(workspace):
    other = relabelled(FRAMES, 1, energy=FRAMES.energy[1] + 0.6)
    other = relabelled(other, 2, energy=FRAMES.energy[2] - 1.0, virial=np.nan)
    other.force[other.atoms_of(2)] += [0.0, -0.25, 0.1]
    commit(workspace, "v", piece("c", other))
    found = between(workspace, "w", "v")
    one, two = found.relabelled
    assert one.largest == {"energy": pytest.approx(0.2)}
    assert two.largest == {
        "energy": pytest.approx(0.25),
        "force": pytest.approx(0.25),
        "virial": None,
    }
    assert found.largest == two.largest


def charged_digests(frames, **electrons):
    from dpbench.store.digests import frame_digests

    return frame_digests(
        frames, theory=fingerprint(THEORY), quarantine=[""] * 5, **electrons
    )


def with_electrons(data, digests, **electrons):
    from dataclasses import replace

    return replace(data, digests=digests, **electrons)


def test_frames_that_both_have_are_not_read(workspace, monkeypatch):
    commit(workspace, "v", piece("c", relabelled(FRAMES, 2, energy=1.0)))
    read = []
    from dpbench.store import diff as module

    def watch(segments, which, rows):
        read.append(len(rows))
        return run(segments, which, rows)

    run = module.read_runs
    monkeypatch.setattr(module, "read_runs", watch)
    diff(open_dataset(workspace, "w"), open_dataset(workspace, "v"))
    assert read == [1, 1, 1, 1]  # once for the structure, once for the labels
    read.clear()
    diff(open_dataset(workspace, "w-v1"), open_dataset(workspace, "w-v2"))
    assert read == []


def test_frames_are_read_in_blocks_of_bounded_size(workspace, monkeypatch):
    monkeypatch.setattr("dpbench.store.diff.BLOCK_ATOMS", 3)
    commit(workspace, "v", piece("c", relabelled(FRAMES, slice(None), energy=1.0)))
    found = between(workspace, "w", "v")
    assert found.counts["relabelled"] == 5
    assert [p.before.step for p in found.relabelled] == [0, 1, 2, 0, 1]


@given(
    one=st.lists(st.integers(0, 3), max_size=8),
    other=st.lists(st.integers(0, 3), max_size=8),
)
def test_multisets_are_matched_as_often_as_both_have_a_value(one, other):
    keys = [
        np.ascontiguousarray(np.array(v, dtype=">u4")).view("V4") for v in (one, other)
    ]
    pairs = _matches(*keys)
    assert [one[i] for i, _ in pairs] == [other[j] for _, j in pairs]
    assert len(pairs) == sum(min(one.count(v), other.count(v)) for v in range(4))
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
