"""Trajectories of training frames are known again where the data is not."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dpbench.frames import concatenate
from dpbench.io.leakage import trace as leakage_trace
from dpbench.io.leakage.steps import STEP_BITS, nearest_codes
from dpbench.io.leakage.trace import compare_with_trace, trace_of
from tests.io.planted import plant, walk
from tests.store.synthetic import new_workspace


def test_a_trace_tells_files_compositions_and_steps(tmp_path):
    mixed = concatenate([walk(1, 4), walk(2, 2, z=[6] * 6), walk(1, 3)])
    version = plant(new_workspace(tmp_path), "a", {"one": (mixed, {"sha256": "f"})})
    kept = np.array([0, 1, 4, 6])
    trace = json.loads(json.dumps(trace_of(version, kept)))
    assert trace["n_frames"] == 4
    assert {(t["sha256"], t["formula"]): t["steps"] for t in trace["trajectories"]} == {
        ("f", "C6"): [[4, 5]],
        ("f", "HOSi4"): [[0, 2], [6, 7]],
    }
    assert compare_with_trace(trace, version, np.array([8, 5])) == (2, 1)
    assert compare_with_trace(trace, version, np.array([3, 8])) == (2, 2)


def test_other_files_are_not_in_a_trace(tmp_path):
    workspace = new_workspace(tmp_path)
    one = plant(workspace, "a", {"one": walk(1, 5)})
    two = plant(workspace, "b", {"two": walk(2, 5)})
    trace = trace_of(one, np.arange(5))
    assert compare_with_trace(trace, two, np.arange(5)) == (0, None)
    none = np.zeros(0, dtype=np.int64)
    assert compare_with_trace(trace, one, none) == (0, None)
    assert compare_with_trace(trace_of(one, none), one, np.arange(5)) == (0, None)


def test_too_many_trajectories_leave_no_trace(tmp_path, monkeypatch):
    monkeypatch.setattr(leakage_trace, "MOST_TRAJECTORIES", 1)
    runs = {"one": walk(1, 3), "two": walk(2, 3)}
    version = plant(new_workspace(tmp_path), "a", runs)
    assert trace_of(version, np.arange(6)) is None


@given(
    known=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), max_size=12),
    wanted=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), max_size=12),
)
def test_nearest_steps_are_those_of_a_plain_search(known, wanted):
    def codes(pairs):
        return np.array([(t << STEP_BITS) + s for t, s in pairs], dtype=np.int64)

    found, partner, steps = nearest_codes(codes(known), codes(wanted))
    expected = {}
    for i, (run, step) in enumerate(wanted):
        distances = [abs(step - s) for t, s in known if t == run]
        if distances:
            expected[i] = min(distances)
    assert dict(zip(found.tolist(), steps.tolist(), strict=True)) == expected
    for i, j, distance in zip(found, partner, steps, strict=True):
        assert known[j][0] == wanted[i][0]
        assert abs(known[j][1] - wanted[i][1]) == distance


def test_more_runs_of_steps_than_fit_leave_no_trace(tmp_path, monkeypatch):
    monkeypatch.setattr(leakage_trace, "MOST_RANGES", 4)
    version = plant(new_workspace(tmp_path), "a", {"one": walk(1, 20)})
    assert trace_of(version, np.arange(0, 8, 2)) is not None
    assert trace_of(version, np.arange(0, 10, 2)) is None
