"""Planted overlaps come back exactly, on the level on which they were planted."""

import json

import numpy as np
import pytest

from dpbench.elements import SYMBOLS
from dpbench.frames import concatenate, uniform
from dpbench.io.leakage import prints as leakage_prints
from dpbench.io.leakage.compare import leakage, twin_pairs
from dpbench.io.leakage.prints import prints_of
from dpbench.io.leakage.words import leakage_words
from dpbench.store.dataset import open_dataset
from tests.io.planted import plant, relabelled, turned, walk
from tests.store.synthetic import new_workspace


@pytest.fixture
def workspace(tmp_path):
    return new_workspace(tmp_path)


def everything(a, b):
    return leakage(a, np.arange(a.nframes), b, np.arange(b.nframes))


def counts(found):
    return (
        found.exact.count,
        found.n_equal_labels,
        found.invariant.count,
        found.same_trajectory.count,
    )


def test_unrelated_data_share_nothing(workspace):
    a = plant(workspace, "a", {"one": walk(1, 30), "two": walk(2, 20)})
    b = plant(workspace, "b", {"three": walk(3, 25)})
    found = everything(a, b)
    assert counts(found) == (0, 0, 0, 0)
    assert (found.n_a, found.n_b, found.why_not) == (50, 25, "")


def test_copies_are_found_whatever_their_labels(workspace):
    run = walk(1, 30)
    a = plant(workspace, "a", {"one": run})
    planted = concatenate(
        [walk(2, 5), run.select([3, 7]), relabelled(run.select([11, 12, 13]))]
    )
    b = plant(workspace, "b", {"other": planted})
    found = everything(a, b)
    assert counts(found) == (5, 2, 0, 0)
    assert found.exact.a.tolist() == [3, 7, 11, 12, 13]
    assert found.exact.b.tolist() == [5, 6, 7, 8, 9]


def test_twins_are_found_once_and_are_no_copies(workspace):
    run = walk(1, 30)
    a = plant(workspace, "a", {"one": run})
    planted = concatenate([turned(run.select([4, 20])), walk(2, 6), run.select([9])])
    b = plant(workspace, "b", {"other": planted})
    found = everything(a, b)
    assert counts(found) == (1, 1, 2, 0)
    assert found.invariant.a.tolist() == [4, 20]
    assert found.invariant.b.tolist() == [0, 1]
    assert found.exact.b.tolist() == [8]


def test_twins_of_one_frame_are_all_found(workspace):
    run = walk(1, 10)
    a = plant(workspace, "a", {"one": run})
    planted = concatenate([turned(run.select([4]), seed=i) for i in range(5)])
    b = plant(workspace, "b", {"other": planted})
    assert everything(a, b).invariant.count == 5
    assert everything(b, a).invariant.count == 1


def test_other_frames_of_a_trajectory_are_found_with_their_distance(workspace):
    run = walk(1, 40)
    plant(workspace, "w", {"one": run, "two": walk(2, 10)})
    version = open_dataset(workspace, "w")
    source_of = version.source_of
    (one,) = (i for i, s in enumerate(version.sources) if s.path.endswith("one.out"))
    frames = np.flatnonzero(source_of == one)
    a, b = frames[:20], frames[[23, 31]]
    found = leakage(version, a, version, b)
    assert counts(found) == (0, 0, 0, 2)
    assert found.same_trajectory.distance.tolist() == [4.0, 12.0]
    assert found.same_trajectory.a.tolist() == [a[19], a[19]]
    assert found.facts()["nearest_steps"] == 4
    other = np.flatnonzero(source_of != one)
    assert leakage(version, a, version, other).same_trajectory.count == 0


def test_a_trajectory_is_known_again_in_another_dataset(workspace):
    run = walk(1, 20)
    same_file = {"sha256": "f" * 64}
    a = plant(workspace, "a", {"a": (run, same_file)})
    b = plant(workspace, "b", {"b": (relabelled(run.select(range(5, 15))), same_file)})
    found = everything(a, b)
    assert found.same_trajectory.count == 10
    assert found.exact.count == 10
    assert found.n_equal_labels == 0


def test_frames_of_another_composition_in_one_file_are_no_relatives(workspace):
    a = plant(workspace, "a", {"a": (walk(1, 6), {"sha256": "f" * 64})})
    other = walk(2, 6, z=[6] * 6)
    b = plant(workspace, "b", {"b": (other, {"sha256": "f" * 64})})
    assert counts(everything(a, b)) == (0, 0, 0, 0)


def test_a_version_against_itself_is_all_copies(workspace):
    a = plant(workspace, "a", {"one": walk(1, 12)})
    found = everything(a, a)
    assert counts(found) == (12, 12, 0, 12)
    assert found.facts()["nearest_steps"] == 0


def test_no_frames_share_nothing(workspace):
    a = plant(workspace, "a", {"one": walk(1, 12)})
    none = np.zeros(0, dtype=np.int64)
    for one, two in ((none, np.arange(12)), (np.arange(12), none), (none, none)):
        assert counts(leakage(a, one, a, two)) == (0, 0, 0, 0)


def test_frames_that_cannot_be_read_are_said_to_be_unchecked(workspace):
    plant(workspace, "a", {"one": walk(1, 12)})
    b = plant(workspace, "b", {"two": (walk(2, 12), {"sha256": "f" * 64})})
    for path in b.segments[0].folder.rglob("coord/**/c/**/*"):
        if path.is_file():
            path.unlink()
    found = everything(open_dataset(workspace, "a"), open_dataset(workspace, "b"))
    assert found.exact is found.invariant is found.n_equal_labels is None
    assert "coord" in found.why_not
    assert found.same_trajectory.count == 0
    assert found.facts()["exact"] is None


def test_a_flat_cell_has_no_fingerprint_and_is_said(workspace):
    flat = uniform(
        z=[1, 1],
        coord=np.array([[[0.0, 0, 0], [1, 0, 0]]]),
        box=np.array([[[3.0, 0, 0], [0, 3, 0], [3, 3, 0]]]),
        energy=np.ones(1),
        force=np.zeros((1, 2, 3)),
    )
    b = plant(workspace, "b", {"flat": flat})
    assert "has no fingerprint" in everything(b, b).why_not


def test_answer_names_frames_by_file_and_step(workspace):
    run = walk(1, 30)
    a = plant(workspace, "a", {"one": run})
    b = plant(workspace, "b", {"other": run.select([3, 7])})
    answer = json.loads(json.dumps(everything(a, b).to_json(1)))
    exact = answer["levels"]["exact"]
    assert (exact["frames"], exact["fraction"], exact["equal_labels"]) == (2, 1.0, 2)
    (pair,) = exact["pairs"]
    assert pair["a"] == {
        "dataset": "a-v1",
        "frame": 3,
        "path": "runs/one.out",
        "member": "",
        "step": 3,
    }
    assert (pair["b"]["path"], pair["b"]["step"]) == ("runs/other.out", 0)


def test_prints_are_kept_and_follow_the_frames(workspace, monkeypatch):
    run = walk(1, 20)
    a = plant(workspace, "a", {"one": run})
    odd = prints_of(a, np.arange(1, 20, 2))
    read = []
    real = type(a).read

    def counted(self, indices):
        read.append(len(indices))
        return real(self, indices)

    monkeypatch.setattr(type(a), "read", counted)
    whole = prints_of(open_dataset(workspace, "a"), np.arange(20))
    assert sum(read) == 10
    np.testing.assert_array_equal(whole.structure[1::2], odd.structure)
    np.testing.assert_array_equal(whole.invariant.vectors[1::2], odd.invariant.vectors)
    plant(workspace, "a", {"two": walk(2, 5)})
    read.clear()
    grown = open_dataset(workspace, "a")
    prints_of(grown, np.arange(25))
    assert sum(read) == 5


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive"])
def test_damaged_prints_are_made_again(workspace, damage):
    a = plant(workspace, "a", {"one": walk(1, 8)})
    first = prints_of(a, np.arange(8))
    (path,) = (workspace.root / "derived" / "leakage").glob("*.npz")
    path.write_bytes(damage)
    again = prints_of(open_dataset(workspace, "a"), np.arange(8))
    np.testing.assert_array_equal(first.content, again.content)
    assert path.stat().st_size > 1000


def test_more_frames_than_there_is_time_for_are_compared_by_digest_alone(workspace):
    run = walk(1, 30)
    a = plant(workspace, "a", {"one": run})
    planted = concatenate([turned(run.select([4, 20])), run.select([9])])
    b = plant(workspace, "b", {"other": planted})
    found = leakage(a, np.arange(30), b, np.arange(3), most=29)
    assert (found.exact.count, found.n_equal_labels, found.invariant) == (1, 1, None)
    assert "among more than 29 new frames" in found.why_not
    assert "1 copy, twins not checked" in leakage_words(found.facts())
    assert leakage(a, np.arange(30), b, np.arange(3), most=30).invariant.count == 2
    # What is kept costs nothing.
    assert leakage(a, np.arange(30), b, np.arange(3), most=0).invariant.count == 2


def test_small_blocks_give_the_same_prints(workspace, monkeypatch):
    a = plant(workspace, "a", {"one": walk(1, 9)})
    whole = prints_of(a, np.arange(9))
    monkeypatch.setattr(leakage_prints, "BLOCK_ATOMS", 13)
    monkeypatch.setattr(leakage_prints, "MOST_KEPT", 0)
    for path in (workspace.root / "derived" / "leakage").glob("*.npz"):
        path.unlink()
    blocks = prints_of(open_dataset(workspace, "a"), np.arange(9))
    np.testing.assert_array_equal(whole.structure, blocks.structure)
    np.testing.assert_array_equal(whole.invariant.vectors, blocks.invariant.vectors)
    assert not list((workspace.root / "derived" / "leakage").glob("*.npz"))


def test_pairs_chain_copies_and_twins(workspace):
    run = walk(1, 10)
    frames = concatenate([run, relabelled(run.select([2])), turned(run.select([2, 5]))])
    version = plant(workspace, "a", {"one": frames})
    pairs = twin_pairs(prints_of(version, np.arange(13)))
    found = {frozenset(pair) for pair in pairs.tolist()}
    linked = {i for pair in found for i in pair}
    assert linked == {2, 5, 10, 11, 12}
    assert all(pair <= {2, 10, 11} or pair <= {5, 12} for pair in found)


def read_mlearn(path):
    """Frames of a file of mlearn (pymatgen structures with VASP labels)."""
    frames = []
    for row in json.loads(path.read_text()):
        sites = row["structure"]["sites"]
        frames.append(
            uniform(
                z=[SYMBOLS.index(s["species"][0]["element"]) for s in sites],
                coord=np.array([[s["xyz"] for s in sites]]),
                box=np.array([row["structure"]["lattice"]["matrix"]]),
                energy=np.array([row["outputs"]["energy"]]),
                force=np.array([row["outputs"]["forces"]]),
            )
        )
    return concatenate(frames)


@pytest.mark.parametrize(("element", "expected"), [("Si", 3)])
def test_known_twins_of_mlearn_are_found(workspace, shared_data, element, expected):
    folder = shared_data / "thirdparty" / "mlearn" / element
    a = plant(workspace, "a", {"training": read_mlearn(folder / "training.json")})
    b = plant(workspace, "b", {"test": read_mlearn(folder / "test.json")})
    assert counts(everything(a, b)) == (0, 0, expected, 0)
