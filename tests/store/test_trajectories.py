"""Which sources are one trajectory, and where they stand in it."""

import numpy as np
import pytest

from dpbench.frames import concatenate
from dpbench.io.leakage.compare import leakage
from dpbench.io.leakage.split import make_checked_split
from dpbench.io.leakage.trace import compare_with_trace, trace_of
from dpbench.store.dataset import open_dataset
from dpbench.store.splits.making import make_split
from dpbench.store.splits.trajectories import find_trajectories
from tests.io.planted import plant, walk
from tests.store.synthetic import new_workspace


def grown(workspace):
    """Three runs, ingested again when they were twice as long."""
    runs = [walk(seed, 24) for seed in range(3)]
    first = {f"half{i}": run.select(range(12)) for i, run in enumerate(runs)}
    plant(workspace, "d", first)
    plant(workspace, "d", {f"whole{i}": run for i, run in enumerate(runs)})
    return open_dataset(workspace, "d-v1"), open_dataset(workspace, "d-v2")


def test_a_grown_run_is_one_trajectory_in_splits_and_leakage(tmp_path):
    before, after = grown(new_workspace(tmp_path))
    assert after.nframes == 72
    number, position = find_trajectories(after).of(after)
    assert len(set(number.tolist())) == 3
    assert all(sorted(position[number == n]) == list(range(24)) for n in set(number))
    split = make_checked_split(after)
    assert split.strategy == "trajectory"
    assert all(found["same_trajectory"] == 0 for found in split.leakage.values())
    new = np.arange(36, 72)
    found = leakage(before, np.arange(36), after, new).facts()
    assert (found["same_trajectory"], found["nearest_steps"]) == (36, 1)
    trace = trace_of(before, np.arange(36))
    assert compare_with_trace(trace, after, new) == (36, 1)


def test_pieces_that_overlap_are_put_in_line(tmp_path):
    run, workspace = walk(1, 30), new_workspace(tmp_path)
    plant(workspace, "d", {"early": run.select(range(20))})
    version = plant(workspace, "d", {"late": run.select(range(10, 30))})
    number, position = find_trajectories(version).of(version)
    assert len(set(number.tolist())) == 1
    assert sorted(position) == list(range(30))


def test_runs_with_one_common_first_frame_stay_apart(tmp_path):
    one, two = walk(1, 12), walk(2, 12)
    two = concatenate([one.select([0]), two])
    version = plant(new_workspace(tmp_path), "d", {"cold": one, "hot": two})
    assert version.nframes == 24
    assert len(set(find_trajectories(version).of_file.values())) == 2


def test_one_frame_files_of_a_folder_are_neighbours_for_leakage_too(tmp_path):
    run = walk(1, 40)
    files = {f"f{i}": (run.select([i]), {"path": f"md/f{i}.out"}) for i in range(40)}
    version = plant(new_workspace(tmp_path), "d", files)
    split = make_checked_split(version, strategy="random")
    assert split.leakage["test"]["same_trajectory"] == len(split.part("test"))
    assert split.leakage["test"]["nearest_steps"] == 1
    assert split.parameters["neighbours_in_train"]["test"] > 0.5


@pytest.mark.parametrize("strategy", ["trajectory", "source"])
def test_parts_of_one_large_system_are_one_trajectory(tmp_path, strategy):
    run, files = walk(1, 12), {}
    for i in range(3):
        entry = {"path": f"big/set.{i:03d}", "format": "deepmd/npy"}
        files[f"s{i}"] = (run.select(range(4 * i, 4 * i + 4)), entry)
    files |= {f"o{i}": walk(5 + i, 4) for i in range(3)}
    version = plant(new_workspace(tmp_path), "d", files)
    split = make_split(version, strategy=strategy)
    number, _ = find_trajectories(version).of(version)
    assert len(set(number.tolist())) == 4
    parts = [set(number[index].tolist()) for index in split.parts.values()]
    assert sum(map(len, parts)) == 4
    found = leakage(version, np.arange(4), version, np.arange(4, 12)).facts()
    assert (found["same_trajectory"], found["nearest_steps"]) == (8, 1)
